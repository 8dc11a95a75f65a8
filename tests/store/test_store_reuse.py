"""The index of what may be used again, and jobs that end as they are stored: on the fake and the real engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from batch_store_kit import now, states, store_batch
from key_kit import make_purse, once
from store_kit import FAILED, IMAGE, OWNER, SUCCEEDED, Bench, new_job
from turn_kit import start_session, succeed

from imagequeue.batches import BatchState
from imagequeue.errors import IdempotencyKeyReused, LimitReached
from imagequeue.jobs import Image, Job, JobInput, JobState, NewJob
from imagequeue.requests import EditRequest, GenerateRequest
from imagequeue.store.jobs import Stored
from imagequeue.store.removals import RemovalStore
from imagequeue.store.reuse import COPYING_MS, Reused, ReuseStore, new_reuse_field
from imagequeue.store.usage import UsageStore
from imagequeue.usage_reports import UsageReports

FOLDER = "images/job_new/reused-1/"
URL, UPLOAD = "https://example.com/a.png", f"upload:{'cd' * 32}"
GIVEN = JobInput(source=URL, sha256="cd" * 32, mime_type="image/png", size_bytes=9, width=64, height=64)


@dataclass(frozen=True)
class Stock:
    """A bench with the index."""

    bench: Bench
    reuse: ReuseStore
    removals: RemovalStore
    folders: list[str] = field(default_factory=list[str])

    def made(self, *inputs: JobInput, images: tuple[Image, ...] = (IMAGE,), **changes: object) -> Job:
        """A job that succeeded."""
        claim = self.bench.claimed(self.bench.submit(**changes), holder=f"holder-{len(self.folders)}")
        result = SUCCEEDED.model_copy(update={"inputs": inputs, "images": images})
        assert self.bench.store.finish(claim, result).answer == "finished"
        return self.bench.store.get(claim.job.id)

    def store(self, new: NewJob, earlier: Job, folder: str = FOLDER) -> Stored | None:
        """Store a job with the earlier one's images."""
        self.reuse.begin_copies(folder)
        return self.reuse.store(reused(new, earlier, folder))

    @property
    def copies(self) -> set[str]:
        """The folders that belong to no job."""
        return set(self.bench.members(self.bench.keys.copies))


def reused(new: NewJob, earlier: Job, folder: str = FOLDER) -> Reused:
    """A job with the earlier one's images."""
    return Reused(new, earlier, earlier.images, folder, ("reuse: yes",))


@pytest.fixture
def stock(bench: Bench) -> Stock:
    """An empty one."""
    jobs = bench.store
    return Stock(bench, ReuseStore(bench.client, bench.keys, jobs), RemovalStore(bench.client, bench.keys))


def test_jobs_of_equal_requests_are_found_newest_first_and_only_by_their_owner(stock: Stock) -> None:
    first, second = stock.made(), stock.made()
    stock.made(request=GenerateRequest(prompt="Another one"))
    stock.made(model="gpt-image-3")
    assert stock.reuse.earlier(new_job()) == [second.id, first.id]
    assert stock.reuse.earlier(new_job(request=GenerateRequest(prompt="A lighthouse at dawn", reuse=True))) != []
    assert stock.reuse.earlier(new_job(owner="somebody-else")) == []
    assert stock.reuse.earlier(new_job(request=GenerateRequest(prompt="A lighthouse at dawn", quality="low"))) == []


def test_only_the_newest_eight_are_remembered(stock: Stock) -> None:
    made = [stock.made().id for _ in range(10)]
    assert stock.reuse.earlier(new_job()) == made[:1:-1]


def test_a_job_that_failed_or_lacks_an_image_is_not_found(stock: Stock) -> None:
    stock.bench.store.finish(stock.bench.claimed(), FAILED)
    two = GenerateRequest(prompt="A lighthouse at dawn", n=2)
    stock.made(request=two)
    assert stock.reuse.earlier(new_job()) == stock.reuse.earlier(new_job(request=two)) == []


def test_an_edit_is_known_by_the_images_that_its_urls_gave(stock: Stock) -> None:
    by_url, by_upload = (
        EditRequest(type="edit", prompt="Add a boat", images=(source,), mask=source, n=1) for source in (URL, UPLOAD)
    )
    job = stock.made(GIVEN, GIVEN, request=by_url)
    assert new_reuse_field(new_job(request=by_url)) == ""
    assert stock.reuse.earlier(new_job(request=by_upload)) == [job.id]


def test_a_sessions_turn_is_not_found(stock: Stock) -> None:
    _, (turn,) = start_session(stock.bench)
    succeed(stock.bench, stock.bench.claimed(turn))
    assert f"reuse:{OWNER}" not in stock.bench.contents()


def test_a_job_with_anothers_images_has_succeeded_for_nothing(stock: Stock) -> None:
    earlier, new = stock.made(), new_job(webhook="https://example.com/hook")
    stored = stock.store(new, earlier)
    assert stored
    job = stored.job
    assert (job.id, job.state, job.images, job.reused_from) == (new.id, JobState.SUCCEEDED, earlier.images, earlier.id)
    assert (job.cost_usd_estimated, job.estimate.high_usd, job.attempts, job.notes) == (0.0, 0.0, (), ("reuse: yes",))
    assert job.usage
    assert (job.usage.input_tokens, job.usage.output_tokens) == (0, 0)
    assert job.finished_at == job.created_at
    assert stored.announced
    assert stock.bench.indexed_as(job.id) == [JobState.SUCCEEDED]
    assert stock.bench.events(job.id) == ["succeeded"]
    assert stock.bench.changes()[-1] == (job.id, "succeeded")
    assert job.id in stock.bench.members(stock.bench.keys.finished)
    assert job.id not in stock.bench.members(stock.bench.keys.waiting("interactive"))
    assert stock.copies == set()
    assert stock.reuse.earlier(new_job()) == [job.id, earlier.id]


def test_it_counts_in_the_figures_without_a_cost(stock: Stock) -> None:
    reports = UsageReports(UsageStore(stock.bench.client, stock.bench.keys))
    earlier = stock.made()
    before = reports.report(owner=OWNER).total
    stock.store(new_job(), earlier)
    after = reports.report(owner=OWNER).total
    assert (after.jobs.succeeded, after.images) == (before.jobs.succeeded + 1, before.images + 1)
    assert (after.cost_usd_estimated, after.estimate_usd) == (before.cost_usd_estimated, before.estimate_usd)


def test_repeating_it_changes_nothing(stock: Stock) -> None:
    earlier, new = stock.made(), new_job()
    assert stock.store(new, earlier)
    contents = stock.bench.contents()
    again = stock.reuse.store(reused(new, earlier))
    assert again
    assert again.job.id == new.id
    assert stock.bench.contents() == contents


def test_copies_that_are_being_deleted_make_no_job(stock: Stock) -> None:
    earlier, new = stock.made(), new_job()
    assert stock.reuse.store(reused(new, earlier)) is None
    stock.bench.raw.zadd(stock.bench.keys.copies, {FOLDER: 1})
    assert stock.reuse.store(reused(new, earlier)) is None
    assert new.id not in stock.bench.members(stock.bench.keys.index(OWNER, None))


def test_copies_without_a_job_are_due_after_an_hour(stock: Stock) -> None:
    stock.reuse.begin_copies(FOLDER)
    now = stock.bench.fleet.now()
    assert stock.reuse.abandoned_copies(now, 9) == []
    assert stock.reuse.abandoned_copies(now + COPYING_MS, 9) == [FOLDER]
    stock.reuse.forget_copies(FOLDER)
    assert stock.copies == set()


def test_an_idempotency_key_gives_the_first_job_or_refuses(stock: Stock) -> None:
    earlier = stock.made()
    first = stock.store(new_job(idempotency=once()), earlier)
    second = stock.store(new_job(idempotency=once()), earlier, "images/x/")
    assert first
    assert second
    assert first.job.id == second.job.id
    with pytest.raises(IdempotencyKeyReused):
        stock.store(new_job(idempotency=once(request="other")), earlier)
    assert stock.copies == {"images/x/", FOLDER}


def test_no_budget_refuses_it_and_nothing_is_reserved(stock: Stock) -> None:
    purse = make_purse(stock.bench, daily_budget_usd=0.000001, jobs_in_flight=1)
    stored = stock.store(purse.new(), stock.made())
    assert stored
    assert (purse.reserved, purse.reserved_in_all, purse.spent) == ({}, 0, 0)


def test_the_keys_jobs_a_minute_count_it(stock: Stock) -> None:
    purse, earlier = make_purse(stock.bench, jobs_per_minute=2), stock.made()
    stored = stock.store(purse.new(), earlier)
    assert stored
    assert stored.quota
    assert (stored.quota.limit, stored.quota.remaining) == (2, 1)
    purse.submit()
    with pytest.raises(LimitReached):
        stock.store(purse.new(), earlier)


def test_deleting_one_leaves_the_others_to_be_found(stock: Stock) -> None:
    first, second = stock.made(), stock.made()
    stock.removals.remove(second)
    assert stock.reuse.earlier(new_job()) == [first.id]
    stock.removals.remove(first)
    assert stock.reuse.earlier(new_job()) == []
    assert f"reuse:{OWNER}" not in stock.bench.contents()


def test_the_index_ends_with_the_longest_retention(stock: Stock) -> None:
    stock.made(retention_ms=100_000)
    stock.made(retention_ms=50_000)
    key = stock.bench.keys.reuse(OWNER)
    assert 90_000 < stock.bench.raw.pttl(key) <= 100_000


def line_of(stock: Stock, earlier: Job, line: int = 0) -> Reused:
    """A batch's line with the earlier one's images."""
    stock.reuse.begin_copies(FOLDER)
    return reused(new_job(lane="batch", custom_id=f"line-{line}"), earlier)


def test_a_line_ends_as_it_begins_and_costs_its_batch_nothing(stock: Stock) -> None:
    earlier, batch = stock.made(), store_batch(stock.bench, lines=2, max_cost=1)
    stock.bench.raw.hset(stock.bench.keys.webhook_endpoints(OWNER), "whe_1", "{}")
    outcome = line_of(stock, earlier)
    assert stock.bench.feed.begin([(batch, 0, outcome), (batch, 0, outcome)]) == ["reused", "reused"]
    found = now(stock.bench, batch)
    assert (found.succeeded, found.in_flight, found.images_made, found.spent, found.reserved) == (1, 0, 1, 0, 0)
    assert (states(stock.bench, batch), found.started_at is None, found.next_line) == ("s", False, 1)
    (record,) = stock.bench.batches.lines(batch.id, 0, 1)
    job = stock.bench.store.get(record.job_id or "")
    assert (job.batch_id, job.line, job.custom_id, job.reused_from) == (batch.id, 0, "line-0", earlier.id)
    assert job.id in stock.bench.members(stock.bench.keys.webhook_announced)
    assert stock.copies == set()
    assert stock.bench.feed.begin([(batch, 1, line_of(stock, earlier, 1))]) == ["reused"]
    assert now(stock.bench, batch).state is BatchState.COMPLETED
    assert stock.bench.batches.ended(batch.id, 0, 9) == [0, 1]


def test_a_line_that_is_not_the_next_takes_nothing(stock: Stock) -> None:
    earlier, batch = stock.made(), store_batch(stock.bench, lines=2)
    assert stock.bench.feed.begin([(batch, 1, line_of(stock, earlier))]) == ["other_line"]
    stock.bench.batches.steer(batch, "pause")
    assert stock.bench.feed.begin([(batch, 0, line_of(stock, earlier))]) == ["not_running"]
    stock.bench.batches.steer(batch, "resume")
    stock.reuse.forget_copies(FOLDER)
    assert stock.bench.feed.begin([(batch, 0, reused(new_job(lane="batch"), earlier))]) == ["too_late"]
    assert now(stock.bench, batch).succeeded == 0
