"""What has ended leaves Redis without anybody noticing, and is gone when its retention ends."""

from __future__ import annotations

import hashlib
import os
from contextlib import closing, suppress
from pathlib import Path

import pytest
from fleet_kit import Fleet
from outage_kit import FlakyS3, joined_fleet, log_of
from retention_kit import ages, archived, figures_of, in_redis, keys_of, objects_of, own_bucket, redis_keys
from session_kit import add_turn, picture, start_session

from imagequeue.errors import (
    InvalidInput,
    JobFinished,
    JobNotFound,
    ObjectsUnavailable,
    SessionClosed,
    SessionNotFound,
)
from imagequeue.job_records import record_key
from imagequeue.jobs import Job, JobState, NewJob
from imagequeue.objects import ObjectStore
from imagequeue.requests import GenerateRequest, parse_request
from imagequeue.service import LOCAL_OWNER
from imagequeue.store.connection import connect
from imagequeue.store.jobs import JobStore
from imagequeue.views import JobPage, JobView

STRANGE_ID = "job_01ARZ3NDEKTSV4RRFFQ69G5FA"
SOON = ages(hot_seconds=0.5)


def views_of(fleet: Fleet, jobs: list[Job]) -> list[JobView]:
    """The jobs as clients see them."""
    return [fleet.queue.view(fleet.queue.get(job.id)) for job in jobs]


def pages_of(fleet: Fleet) -> dict[str, list[JobPage]]:
    """All pages of some lists, of two jobs each."""

    def pages(**which: object) -> list[JobPage]:
        found = [fleet.queue.list(limit=2, **which)]  # pyright: ignore[reportArgumentType]
        while cursor := found[-1].next_cursor:
            found.append(fleet.queue.list(limit=2, cursor=cursor, **which))  # pyright: ignore[reportArgumentType]
        return found

    return {
        "all": pages(),
        "succeeded": pages(state=JobState.SUCCEEDED),
        "failed turns": pages(state=JobState.FAILED, job_type="turn"),
        "generate": pages(job_type="generate"),
    }


def cancelled(fleet: Fleet, count: int) -> list[Job]:
    """Jobs that ended before any worker heard of them."""
    with closing(connect(fleet.settings.redis_url)) as client:
        store = JobStore(client, keys_of(fleet))
        new = [
            NewJob(
                request=GenerateRequest(prompt=f"never painted {number}"),
                owner=LOCAL_OWNER,
                lane="interactive",
                model=fleet.settings.model,
                on_unknown_outcome="retry",
                retention_ms=fleet.settings.retention_ms,
            )
            for number in range(count)
        ]
        for job in new:
            store.cancel(store.submit(job))
        return [store.get(job.id) for job in new]


def test_an_archived_job_is_read_as_before_by_every_way(fleet: Fleet) -> None:
    with own_bucket(fleet) as own:
        jobs = cancelled(own, 1)
        painter = own.start_worker()
        own.sandbox.add_fault({"status": 400, "code": "moderation_blocked"}, prompt="forbidden")
        first = start_session(own, "a pier")
        session_id = first.session_id or ""
        jobs += [own.submit("a lighthouse"), own.submit("forbidden"), first, add_turn(own, first, "at night")]
        jobs = [own.finished(job) for job in jobs]
        own.queue.sessions.end(session_id, owner=LOCAL_OWNER)
        own.kill(painter)
        session = own.queue.sessions.get(session_id, owner=LOCAL_OWNER)
        summaries = own.queue.sessions.list(cursor=None, limit=5, owner=LOCAL_OWNER)
        views, pages = views_of(own, jobs), pages_of(own)
        images = [own.queue.image_bytes(job.id, 0, "original") for job in jobs if job.images]

        own.start_worker(**SOON)
        archived(own, [job.id for job in jobs])
        own.eventually(lambda: not own.redis.exists(keys_of(own).session(session_id)))

        assert views_of(own, jobs) == views
        assert pages_of(own) == pages
        assert [own.queue.image_bytes(job.id, 0, "original") for job in jobs if job.images] == images
        assert own.queue.sessions.get(session_id, owner=LOCAL_OWNER) == session
        assert own.queue.sessions.list(cursor=None, limit=5, owner=LOCAL_OWNER) == summaries
        assert [job.id for job in own.queue.list(session_id=session_id, limit=9).jobs] == [jobs[4].id, jobs[3].id]
        assert own.queue.wait(jobs[1].id, 5) == jobs[1]
        with pytest.raises(JobFinished):
            own.queue.cancel(jobs[1].id)
        with pytest.raises(SessionClosed):
            add_turn(own, first, "too late")
        with pytest.raises(JobNotFound):
            own.queue.get(jobs[1].id, owner="somebody-else")
        with pytest.raises(SessionNotFound):
            own.queue.sessions.get(session_id, owner="somebody-else")

        fork = own.queue.sessions.fork(session_id, 1, owner=LOCAL_OWNER)
        turn = own.finished(add_turn(own, first, "another way", session_id=fork.id))
        assert turn.inputs[0].sha256 == jobs[3].images[0].sha256
        request = {"type": "edit", "prompt": "with gulls", "quality": "low", "images": [f"job:{jobs[1].id}/0"]}
        edited = own.finished(own.queue.submit(parse_request(request)).job)
        assert edited.inputs[0].sha256 == jobs[1].images[0].sha256


def test_only_spool_folders_without_an_answer_that_somebody_needs_are_cleared_away(fleet: Fleet) -> None:
    with own_bucket(fleet) as own:
        job = cancelled(own, 1)[0]
        own.start_worker(**SOON)
        archived(own, [job.id])
        stored, strange, inputs = (
            own.settings.spool_dir / f"{job_id}.1" for job_id in (job.id, f"{STRANGE_ID}A", f"{STRANGE_ID}B")
        )
        for folder, file in ((stored, "0"), (strange, "0"), (inputs, "input-0.png")):
            folder.mkdir(parents=True)
            (folder / file).write_bytes(b"an answer, perhaps")
            os.utime(folder, (0, 0))
        own.eventually(lambda: not stored.exists() and not inputs.exists())
        assert (strange / "0").read_bytes() == b"an answer, perhaps"


def test_an_archived_jobs_images_are_used_again_without_a_call(fleet: Fleet) -> None:
    with own_bucket(fleet) as own:
        own.start_worker(**SOON)
        source = picture(own, "tomato")
        edit = {"type": "edit", "prompt": "Add a boat", "quality": "low", "images": [source]}
        jobs = [own.submit("twice the same", n=2), own.queue.submit(parse_request(edit)).job]
        jobs = [own.finished(job) for job in jobs]
        archived(own, [job.id for job in jobs])
        calls = len(own.sandbox.calls())
        again = [own.submit("twice the same", n=2, reuse=True)]
        again.append(own.queue.submit(parse_request({**edit, "reuse": True})).job)
        for job, earlier in zip(again, jobs, strict=True):
            assert (job.state, job.reused_from) == (JobState.SUCCEEDED, earlier.id), job
            assert [image.sha256 for image in job.images] == [image.sha256 for image in earlier.images]
            assert (job.inputs, job.applied) == (earlier.inputs, earlier.applied)
            own.queue.delete(earlier.id)
            for image in job.images:
                body = own.queue.image_bytes(job.id, image.index, "original")
                assert hashlib.sha256(body).hexdigest() == image.sha256
                assert own.queue.image_bytes(job.id, image.index, "preview")
        assert len(own.sandbox.calls()) == calls
        archived(own, [job.id for job in again])
        assert own.submit("twice the same", n=2, reuse=True).reused_from == again[0].id


def test_nothing_is_left_of_what_is_past_retention_but_its_cost(fleet: Fleet) -> None:
    with own_bucket(fleet, **ages(0.5, 4)) as own:
        own.start_worker()
        first = start_session(own, "a pier")
        jobs = [own.submit("a lighthouse"), first, add_turn(own, first, "at night")]
        jobs = [own.finished(job) for job in jobs]
        own.queue.sessions.end(first.session_id or "", owner=LOCAL_OWNER)
        picture(own, "tomato")  # which nobody uses
        ObjectStore(own.settings).put_bytes("uploads/" + "ab" * 32, b"staged", content_type="image/png", filename="a")
        spent = own.queue.usage.report(owner=LOCAL_OWNER).total
        assert objects_of(own)
        own.eventually(lambda: not objects_of(own))
        for job in jobs:
            with pytest.raises(JobNotFound):
                own.queue.get(job.id)
        with pytest.raises(SessionNotFound):
            own.queue.sessions.get(first.session_id or "", owner=LOCAL_OWNER)
        assert own.queue.list(limit=9).jobs == ()
        assert own.queue.sessions.list(cursor=None, limit=9, owner=LOCAL_OWNER).sessions == ()
        own.eventually(lambda: not kept(own) - {f"usage:{LOCAL_OWNER}"})
        assert own.queue.usage.report(owner=LOCAL_OWNER).total == spent == figures_of(map(own.queue.view, jobs))


def kept(fleet: Fleet) -> set[str]:
    """The keys in Redis that tell of any record."""
    of_records = ("job:", "events:", "session:", "turns:", "history:", "index:", "archive:", "pinned:", "sessions:")
    return {key for key in redis_keys(fleet) if key.startswith((*of_records, "usage:", "finished", "expiring"))}


def test_an_image_that_a_session_goes_on_from_outlives_its_retention(fleet: Fleet) -> None:
    with own_bucket(fleet, **ages(0.3, 1.5)) as own:
        own.start_worker()
        first = own.finished(start_session(own, "a pier"))
        later = cancelled(own, 1)[0]
        own.eventually(lambda: not objects_of(own, record_key(later.id)) and not in_redis(own, later.id))
        assert own.queue.get(first.id) == first
        second = own.finished(add_turn(own, first, "at night"))
        assert second.inputs[0].sha256 == first.images[0].sha256
        own.eventually(lambda: gone(own, first))
        assert own.queue.get(second.id) == second
        fork = own.queue.sessions.fork(first.session_id or "", None, owner=LOCAL_OWNER)
        own.queue.sessions.end(first.session_id or "", owner=LOCAL_OWNER)
        third = own.finished(add_turn(own, first, "by day", session_id=fork.id))
        assert third.inputs[0].sha256 == second.images[0].sha256
        own.queue.sessions.end(fork.id, owner=LOCAL_OWNER)
        own.eventually(lambda: gone(own, second) and gone(own, third))


def gone(fleet: Fleet, job: Job) -> bool:
    """Whether nobody can read the job."""
    with suppress(JobNotFound):
        fleet.queue.get(job.id)
        return False
    return True


def test_a_worker_that_is_killed_while_it_archives_loses_nothing(fleet: Fleet) -> None:
    with own_bucket(fleet) as own:
        jobs = cancelled(own, 60)
        views = views_of(own, jobs)
        archivist = own.start_worker(**SOON)
        own.eventually(lambda: own.redis.zcard(keys_of(own).finished) < len(jobs))
        own.kill(archivist)
        assert views_of(own, jobs) == views
        own.start_worker(**SOON)
        archived(own, [job.id for job in jobs])
        assert views_of(own, jobs) == views
        assert {job.id for job in own.queue.list(limit=200).jobs} == {job.id for job in jobs}
        assert len(own.queue.list(limit=200).jobs) == len(jobs)


def test_nothing_leaves_redis_while_s3_is_away(fleet: Fleet, tmp_path: Path) -> None:
    s3 = FlakyS3(tmp_path)
    try:
        with joined_fleet(fleet, {**s3.environment, **SOON}) as own:
            old = cancelled(own, 1)
            own.start_worker()
            archived(own, [old[0].id])
            s3.down()
            jobs = cancelled(own, 3)
            own.eventually(lambda: "housekeeping_waits_for_s3" in log_of(own))
            rounds = own.redis.hget(keys_of(own).sweeps, "at")
            own.eventually(lambda: int(own.redis.hget(keys_of(own).sweeps, "at")) > int(rounds) + 3000)
            assert all(in_redis(own, job.id) for job in jobs)
            with pytest.raises(ObjectsUnavailable):
                own.queue.get(old[0].id)
            with pytest.raises(JobNotFound):
                own.queue.get("job_01ARZ3NDEKTSV4RRFFQ69G5FAV")  # of an hour without archived jobs: S3 is not asked
            s3.up()
            archived(own, [job.id for job in jobs])
            assert [own.queue.get(job.id) for job in (*old, *jobs)] == [*old, *jobs]
            assert log_of(own).count("housekeeping_waits_for_s3") == 1
    finally:
        s3.down()


def test_an_input_that_a_waiting_job_needs_is_kept(fleet: Fleet) -> None:
    with own_bucket(fleet, **ages(0.5, 1)) as own:
        source, unused = picture(own, "tomato"), picture(own, "wheat")
        request = {"type": "edit", "prompt": "with gulls", "quality": "low", "images": [source]}
        with own.sandbox.account_blocked(429, "insufficient_quota"):
            waiting = own.queue.submit(parse_request(request)).job
            own.start_worker()
            own.eventually(lambda: bool(own.queue.get(waiting.id).attempts))
            later = cancelled(own, 1)[0]
            own.eventually(lambda: gone(own, later))
            assert own.queue.inputs.describe(source).mime_type == "image/png"
            own.queue.cancel(waiting.id)
        own.eventually(lambda: not objects_of(own, "inputs/"))
        with pytest.raises(InvalidInput, match="no upload"):
            own.queue.submit(parse_request({**request, "images": [unused]}))


def test_usage_is_the_sum_of_the_records_under_kills(fleet: Fleet) -> None:
    own = fleet
    own.sandbox.add_fault({"drop": "middle"}, prompt="cut off", times=9)
    own.sandbox.add_fault({"status": 400, "code": "moderation_blocked"}, prompt="forbidden", times=9)
    own.sandbox.add_fault({"body": "not_an_image"}, prompt="no image", times=9)
    own.sandbox.add_fault({"delay": 1.5}, prompt="slow", times=99)
    jobs = cancelled(own, 2)
    names = ("cut off", "forbidden", "no image", "slow", "slow", "plain", "plain")
    jobs += [own.submit(f"{name} {number}") for number in range(3) for name in names]
    for _ in range(2):
        worker = own.start_worker()
        own.in_call("slow 1")
        own.kill(worker)
    own.start_worker()
    for job in jobs:
        own.finished(job)
    views = [own.queue.view(own.queue.get(job.id)) for job in jobs]
    by_day = own.queue.usage.report(owner=LOCAL_OWNER)
    assert by_day.total == figures_of(views)
    assert by_day.total.possible_extra_cost_usd > 0
    assert by_day.total.jobs_of_unknown_cost > 0
    by_model = own.queue.usage.report(owner=LOCAL_OWNER, group="model")
    assert [row.model for row in by_model.rows] == [own.settings.model]
    assert own.queue.usage.report(owner="somebody-else").rows == ()
