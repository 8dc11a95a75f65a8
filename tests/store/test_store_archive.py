"""Leaving Redis: what archiving, deleting and using do to the records, on the fake and the real engine."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from store_kit import HOUR_MS, OWNER, SUCCEEDED, Bench, new_job

from imagequeue.errors import ImageNotFound, JobNotFound
from imagequeue.jobs import Job, JobState
from imagequeue.sessions import NewSession, session_image
from imagequeue.store.archive import ArchiveEntry, ArchiveStore, Bucket, hour_of
from imagequeue.store.deliveries import DeliveryStore
from imagequeue.store.input_uses import InputUses
from imagequeue.store.job_search import JobFilter
from imagequeue.store.removals import Leaving, RemovalStore

SHA256 = "ab" * 32


@dataclass(frozen=True)
class Shelves:
    """A bench with what archives and deletes."""

    bench: Bench
    archive: ArchiveStore
    removals: RemovalStore
    uses: InputUses

    def ended(self, **changes: object) -> Job:
        """A job that succeeded."""
        claim = self.bench.claimed(self.bench.submit(**changes))
        self.bench.store.finish(claim, SUCCEEDED)
        return self.bench.store.get(claim.job.id)


@pytest.fixture
def shelves(bench: Bench) -> Shelves:
    """Empty ones."""
    client, keys = bench.client, bench.keys
    return Shelves(bench, ArchiveStore(client, keys), RemovalStore(client, keys), InputUses(client, keys))


def test_a_job_that_ended_is_due_by_when_it_ended(shelves: Shelves) -> None:
    cancelled = shelves.bench.submit()
    shelves.bench.store.cancel(cancelled)
    ended, now = shelves.ended(), shelves.bench.fleet.now()
    shelves.bench.submit()
    assert set(shelves.archive.finished(now, 9)) == {cancelled.id, ended.id}
    assert shelves.archive.finished(now - HOUR_MS, 9) == []
    shelves.archive.look_later(ended.id, now + HOUR_MS)
    assert shelves.archive.finished(now, 9) == [cancelled.id]


def test_an_archived_job_is_a_short_entry_and_archiving_it_again_changes_nothing(shelves: Shelves) -> None:
    job = shelves.ended()
    assert not shelves.archive.may_hold(OWNER, job.id)
    assert shelves.archive.archive(job) == "archived"
    with pytest.raises(JobNotFound):
        shelves.bench.store.get(job.id)
    before = shelves.bench.contents()
    assert shelves.archive.archive(job) == "gone"
    assert shelves.bench.contents() == before
    [entry] = shelves.archive.entries(Bucket(OWNER, hour_of(job.id)))
    assert (entry, len(entry.text)) == (ArchiveEntry.of(job), 36)
    assert 0 <= entry.expires_at - (job.expires_at or 0) < 1000
    assert shelves.archive.may_hold(OWNER, job.id)
    assert not shelves.archive.may_hold("owner-2", job.id)
    assert not [name for name in before if job.id in name or name.startswith(("index:", "finished"))]


def test_a_result_that_nobody_fetched_stays_until_its_call_is_forgotten(shelves: Shelves) -> None:
    deliveries = DeliveryStore(shelves.bench.client, shelves.bench.keys)
    new = new_job()
    deliveries.claim(new)
    claim = shelves.bench.claimed(shelves.bench.store.submit(new))
    shelves.bench.store.finish(claim, SUCCEEDED)
    job = shelves.bench.store.get(new.id)
    assert shelves.archive.archive(job) == "awaited"
    assert shelves.bench.store.get(new.id) == job
    deliveries.handed_over(job, job.id)
    assert shelves.archive.archive(job) == "archived"


def id_of(hour: int, number: int) -> str:
    """A job id made in an hour."""
    return f"job_{hour_prefix(hour)}{number:016d}"


def hour_prefix(hour: int) -> str:
    """The time part of ids that were made in an hour."""
    alphabet, milliseconds, digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", hour * HOUR_MS, ""
    for _ in range(10):
        milliseconds, digit = divmod(milliseconds, 32)
        digits = alphabet[digit] + digits
    return digits


def test_archived_jobs_are_listed_newest_first_over_hours_by_state_and_type(shelves: Shelves) -> None:
    ids = [id_of(hour, number) for hour in (500_000, 500_001, 500_007) for number in (2, 3, 1)]
    for job_id in ids:
        shelves.archive.archive(shelves.ended(id=job_id))
    cancelled = shelves.bench.submit(id=id_of(500_003, 1))
    shelves.bench.store.cancel(cancelled)
    shelves.archive.archive(shelves.bench.store.get(cancelled.id))
    newest = sorted([*ids, cancelled.id], reverse=True)

    def listed(after: str | None = None, limit: int = 99, **which: object) -> list[str]:
        return shelves.archive.newest_ids(JobFilter(OWNER, **which), after, limit)  # pyright: ignore[reportArgumentType]

    assert listed() == newest
    assert [listed(after, 2) for after in (None, newest[1], newest[3], newest[9])] == [
        newest[:2],
        newest[2:4],
        newest[4:6],
        [],
    ]
    assert listed(state=JobState.CANCELLED) == [cancelled.id]
    assert listed(type="edit") == []
    assert shelves.archive.newest_ids(JobFilter("owner-2"), None, 9) == []


def test_an_archive_is_due_when_its_first_job_expires_and_is_gone_with_its_last(shelves: Shelves) -> None:
    late = shelves.ended(id=id_of(500_000, 1), retention_ms=2 * HOUR_MS)
    early = shelves.ended(id=id_of(500_000, 2), retention_ms=HOUR_MS)
    for job in (late, early):
        shelves.archive.archive(job)
    bucket = Bucket(OWNER, 500_000)
    assert shelves.archive.expiring((early.expires_at or 0) - 1, 9) == []
    assert shelves.archive.expiring((early.expires_at or 0) + 1000, 9) == [bucket]
    shelves.removals.remove(early)
    assert [entry.job_id for entry in shelves.archive.entries(bucket)] == [late.id]
    shelves.archive.expires_next(bucket, late.expires_at or 0)
    assert shelves.archive.expiring((early.expires_at or 0) + 1000, 9) == []
    for _ in range(2):
        shelves.removals.remove_entry(OWNER, ArchiveEntry.of(late))
        shelves.archive.expires_next(bucket, 1)
        assert shelves.archive.expiring(late.expires_at or 0, 9) == []
    assert not [name for name in shelves.bench.contents() if name.startswith(("archive", "expiring"))]


def test_removing_a_job_leaves_only_what_is_counted(shelves: Shelves) -> None:
    shelves.bench.submit()
    before = set(shelves.bench.contents())
    job = shelves.ended()
    for _ in range(2):
        shelves.removals.remove(job)
        assert set(shelves.bench.contents()) - before <= {f"usage:{OWNER}", "limiter"}


def test_a_job_that_has_not_ended_does_not_leave(shelves: Shelves) -> None:
    job = shelves.bench.submit()
    assert shelves.removals.leave(job) == "unfinished"
    assert shelves.removals.leave(shelves.bench.claimed(job).job) == "unfinished"
    assert shelves.removals.leaving(shelves.bench.fleet.now() + HOUR_MS, 9) == []


def test_a_removal_is_taken_over_after_a_minute_and_keeps_its_mark_for_a_last_look(shelves: Shelves) -> None:
    job, now = shelves.ended(), shelves.bench.fleet.now()
    leaving = Leaving(job.id, OWNER)
    assert [shelves.removals.leave(job), shelves.removals.leave(job)] == ["leaving", "leaving"]
    assert shelves.removals.leaving(now, 9) == []
    assert shelves.removals.leaving(now + 2 * 60_000, 9) == [leaving]
    shelves.archive.archive(job)
    assert not shelves.archive.may_hold(OWNER, job.id), "an archived job is hidden while it is deleted"
    shelves.removals.left(leaving, now + HOUR_MS)
    assert shelves.removals.leaving(now + 2 * 60_000, 9) == []
    assert shelves.removals.leaving(now + HOUR_MS, 9) == [leaving]
    shelves.removals.left(leaving)
    assert shelves.removals.leaving(now + HOUR_MS, 9) == []


def forked(shelves: Shelves, job: Job) -> NewSession:
    """A session that is to go on from the job's image."""
    return NewSession(owner=OWNER, output_format="png", image=session_image(job))


def test_a_job_is_needed_by_active_sessions_whose_next_turn_edits_its_image(shelves: Shelves) -> None:
    job = shelves.ended()
    assert shelves.removals.needed_by(job) == []
    one, other = (shelves.bench.sessions.fork(forked(shelves, job)) for _ in range(2))
    assert shelves.removals.needed_by(job) == sorted([one.id, other.id])
    shelves.bench.sessions.end(one)
    assert shelves.removals.needed_by(job) == [other.id]


def test_no_session_is_forked_from_a_job_that_is_being_deleted(shelves: Shelves) -> None:
    job = shelves.ended()
    shelves.removals.leave(job)
    new = forked(shelves, job)
    with pytest.raises(ImageNotFound):
        shelves.bench.sessions.fork(new)
    assert not shelves.bench.sessions.is_listed(OWNER, new.id)
    shelves.removals.stay(job)
    assert shelves.bench.sessions.fork(new).id == new.id


def test_a_closed_session_leaves_and_stays_listed_until_it_is_removed(shelves: Shelves) -> None:
    sessions, removals = shelves.bench.sessions, shelves.removals
    session = sessions.fork(forked(shelves, shelves.ended()))
    assert removals.archive_session(session, 5) == removals.remove_session(session) == "active"
    closed = sessions.end(session)
    now = shelves.bench.fleet.now()
    assert removals.closed_sessions(now, 9) == [session.id]
    for _ in range(2):
        assert removals.archive_session(closed, now + HOUR_MS) == "archived"
    assert removals.closed_sessions(now, 9) == []
    assert removals.closed_sessions(now + HOUR_MS, 9) == [session.id]
    assert sessions.is_listed(OWNER, session.id)
    for _ in range(2):
        assert removals.remove_session(closed) == "removed"
    assert not sessions.is_listed(OWNER, session.id)
    removals.look_at_session(session.id, None)
    assert removals.closed_sessions(now + HOUR_MS, 9) == []


def test_a_session_that_ended_by_itself_is_looked_at_once_it_is_idle(shelves: Shelves) -> None:
    session = shelves.bench.sessions.fork(forked(shelves, shelves.ended()))
    shelves.bench.raw.hset(shelves.bench.keys.session(session.id), "state", "ended")
    shelves.bench.sessions.expire(session.id, HOUR_MS)
    assert shelves.removals.closed_sessions(shelves.bench.fleet.now(), 9) == [session.id]


def test_an_input_is_either_used_or_deleted(shelves: Shelves) -> None:
    uses = shelves.uses
    assert uses.use(SHA256) == "used"
    assert uses.leave(SHA256, HOUR_MS) == "used"
    shelves.bench.raw.zadd(shelves.bench.keys.input_uses, {SHA256: 1})
    assert [uses.leave(SHA256, HOUR_MS), uses.leave(SHA256, HOUR_MS)] == ["leaving", "leaving"]
    assert (uses.use(SHA256), uses.leaving()) == ("leaving", [SHA256])
    uses.left(SHA256)
    assert (uses.use(SHA256), uses.leaving()) == ("used", [])


def test_the_oldest_job_that_waits_or_runs_is_known(shelves: Shelves) -> None:
    assert shelves.uses.oldest_unfinished() is None
    first, second = (shelves.bench.submit(id=id_of(500_000, number)) for number in (1, 2))
    assert shelves.uses.oldest_unfinished() == first.id
    claim = shelves.bench.claimed(first)
    assert shelves.uses.oldest_unfinished() == first.id
    shelves.bench.store.finish(claim, SUCCEEDED)
    assert shelves.uses.oldest_unfinished() == second.id


def test_the_round_through_the_inputs_goes_on_where_it_was(shelves: Shelves) -> None:
    assert shelves.uses.round() == ("", 0)
    shelves.uses.go_on("inputs/abc", 7)
    assert shelves.uses.round() == ("inputs/abc", 7)
