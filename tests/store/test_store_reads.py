"""Reading: positions, lists and pages, and a job's way into its hash and back."""

from __future__ import annotations

import pytest
from store_kit import BUSY, HOUR_MS, IMAGE, OWNER, SUCCEEDED, Bench, new_job
from turn_kit import start_session

from imagequeue.jobs import Applied, AttemptOutcome, Image, Job, JobState, Lane, Usage
from imagequeue.requests import GenerateRequest, ignored_settings
from imagequeue.store.job_codec import job_from_hash, new_job_fields, result_fields

FULL_REQUEST = GenerateRequest(
    prompt='A “lighthouse”\n\tat dawn \\ "1902" 灯台 🌅',
    size="1536x1024",
    quality="high",
    n=10,
    background="opaque",
    output_format="jpeg",
    output_compression=0,
    moderation="low",
    filename_prefix="hero-banner",
    user="u-5f3a9c",
)
SECOND_IMAGE: Image = IMAGE.model_copy(update={"index": 1, "key": "images/job/1/1.png"})


def positions(bench: Bench, *jobs: Job) -> list[int | None]:
    """Where the jobs stand now: each asked for alone, and all at once, is the same."""
    alone = [bench.store.positions([bench.store.get(job.id)])[0] for job in jobs]
    together = bench.store.positions([bench.store.get(job.id) for job in jobs])
    assert together == alone
    return alone


def test_positions_count_from_one_in_the_order_of_submission(bench: Bench) -> None:
    jobs = [bench.submit() for _ in range(3)]
    assert positions(bench, *jobs) == [1, 2, 3]
    bench.claimed(jobs[0])
    assert positions(bench, *jobs) == [None, 1, 2]


def test_batch_jobs_wait_behind_every_interactive_one(bench: Bench) -> None:
    batch = [bench.submit(lane="batch") for _ in range(2)]
    interactive = [bench.submit() for _ in range(2)]
    assert positions(bench, *interactive) == [1, 2]
    assert positions(bench, *batch) == [3, 4]
    assert positions(bench, batch[0], *interactive) == [3, 1, 2]


def test_who_should_have_a_hint_leaves_out_who_waits_for_a_retry(bench: Bench) -> None:
    first, second, third = (bench.submit(lane="batch") for _ in range(3))
    bench.submit()
    bench.released(bench.claimed(first), HOUR_MS)
    assert list(bench.store.unhinted("batch")) == [second.id, third.id]


@pytest.mark.parametrize("lane", ["interactive", "batch"])
def test_a_lane_is_known_by_id(bench: Bench, lane: Lane) -> None:
    assert bench.store.lane(bench.submit(lane=lane).id) == lane


def test_lists_give_the_newest_first_and_one_owner_only(bench: Bench) -> None:
    jobs = [bench.store.submit(new_job(id=f"job_{number}")) for number in range(4)]
    bench.submit(owner="owner-2")
    assert bench.store.list_ids(OWNER, None, None, 10) == [job.id for job in reversed(jobs)]


def test_pages_follow_each_other_without_gap_or_repetition(bench: Bench) -> None:
    ids = [bench.store.submit(new_job(id=f"job_{number:02}")).id for number in range(10)]
    pages: list[list[str]] = []
    cursor: str | None = None
    while page := bench.store.list_ids(OWNER, None, cursor, 4):
        pages.append(page)
        cursor = page[-1]
        bench.store.submit(new_job(id=f"job_9{len(pages)}"))  # new ones do not disturb who pages
    assert [len(page) for page in pages] == [4, 4, 2]
    assert [job_id for page in pages for job_id in page] == ids[::-1]


def test_a_cursor_need_not_be_the_id_of_a_job_that_is_still_there(bench: Bench) -> None:
    for number in (1, 3):
        bench.store.submit(new_job(id=f"job_{number}"))
    assert bench.store.list_ids(OWNER, None, "job_2", 10) == ["job_1"]
    assert bench.store.list_ids(OWNER, None, "+", 10) == []


def test_lists_and_counts_by_state_follow_the_jobs(bench: Bench) -> None:
    queued, running, ended = (bench.submit() for _ in range(3))
    bench.claimed(running)
    bench.store.finish(bench.claimed(ended), SUCCEEDED)
    listed = {state: bench.store.list_ids(OWNER, state, None, 10) for state in JobState}
    assert listed == {
        JobState.QUEUED: [queued.id],
        JobState.RUNNING: [running.id],
        JobState.SUCCEEDED: [ended.id],
        JobState.FAILED: [],
        JobState.CANCELLED: [],
    }
    assert [bench.store.count(OWNER, state) for state in JobState] == [1, 1, 1, 0, 0]
    assert bench.store.count("owner-2", JobState.QUEUED) == 0


def test_many_jobs_come_in_the_order_asked_for_and_missing_ones_are_left_out(bench: Bench) -> None:
    first, second = bench.submit(), bench.submit()
    assert bench.store.get_many([second.id, "job_missing", first.id]) == [second, first]
    assert bench.store.get_many([]) == []


def test_jobs_are_found_by_state_and_type_in_the_order_asked_for(bench: Bench) -> None:
    _, (turn,) = start_session(bench)
    queued, running = bench.submit(), bench.submit()
    bench.claimed(running)
    ids = [running.id, turn.id, queued.id]
    assert bench.store.matching(ids, None, "generate") == [running.id, queued.id]
    assert bench.store.matching(ids, JobState.QUEUED, None) == [turn.id, queued.id]
    assert bench.store.matching(ids, JobState.QUEUED, "turn") == [turn.id]
    assert bench.store.matching(["job_missing"], JobState.QUEUED, None) == []


def test_a_job_comes_back_from_redis_as_it_was_written(bench: Bench) -> None:
    new = new_job(request=FULL_REQUEST, lane="batch", on_unknown_outcome="fail")
    claim = bench.claimed(bench.store.submit(new), "holder-1")
    bench.store.release(claim, AttemptOutcome.BUSY, BUSY, 0, "req_1")
    claim = bench.claimed(claim.job, "holder-2")
    bench.store.start_call(claim, "responses")
    usage = Usage(input_tokens=50, output_tokens=7024, total_tokens=7074, input_text_tokens=50)
    applied = Applied(size="1536x1024", quality="high")
    result = SUCCEEDED.model_copy(
        update={
            "images": (IMAGE, SECOND_IMAGE),
            "usage": usage,
            "applied": applied,
            "cost_usd_estimated": 0.21097,
            "notes": ("one",),
        }
    )
    bench.store.finish(claim, result)
    job = bench.store.get(new.id)
    assert job == Job.model_validate_json(job.model_dump_json())
    assert (job.id, job.type, job.owner, job.lane, job.model) == (new.id, "generate", OWNER, "batch", "gpt-image-2")
    assert (job.request, job.fingerprint, job.estimate) == (FULL_REQUEST, new.fingerprint, new.estimate)
    assert (job.on_unknown_outcome, job.cancel_requested) == ("fail", False)
    assert (job.images, job.usage, job.applied) == ((IMAGE, SECOND_IMAGE), usage, applied)
    assert (job.cost_usd_estimated, job.notes, job.error) == (0.21097, ("one",), None)
    assert [(attempt.number, attempt.outcome) for attempt in job.attempts] == [
        (1, AttemptOutcome.BUSY),
        (2, AttemptOutcome.SUCCEEDED),
    ]
    assert job.attempts[1].route == "responses"


def test_more_than_nine_attempts_stay_in_order(bench: Bench) -> None:
    job = bench.submit()
    for _ in range(11):
        bench.released(bench.claimed(job))
    assert [attempt.number for attempt in bench.store.get(job.id).attempts] == list(range(1, 12))


@pytest.mark.parametrize("request_", [GenerateRequest(prompt="a"), FULL_REQUEST], ids=["defaults", "everything"])
def test_the_codec_loses_nothing_of_a_new_job(request_: GenerateRequest) -> None:
    new = new_job(request=request_)
    job = job_from_hash({**new_job_fields(new), "id": new.id, "state": "queued", "created_at": "1", "place": "7"})
    shared = set(type(new).model_fields) & set(Job.model_fields)
    assert job.model_dump(include=shared) == new.model_dump(include=shared)
    assert (job.fingerprint, job.estimate, job.notes) == (
        new.fingerprint,
        new.estimate,
        tuple(ignored_settings(request_)),
    )


def test_result_fields_leave_out_what_has_no_value() -> None:
    assert set(result_fields(SUCCEEDED)) == {"images", "cost_usd_estimated"}
