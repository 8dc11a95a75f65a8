"""An image that is paid for survives S3, the worker and the disk: it is stored in the end, and never paid for twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from fleet_kit import Fleet
from outage_kit import FlakyS3, answer_arrived, joined_fleet, log_of, stop_twice
from session_kit import add_turn, chained, start_session

from imagequeue.jobs import AttemptOutcome, Job, JobState

UNKNOWN, SUCCEEDED, LOST = AttemptOutcome.UNKNOWN, AttemptOutcome.SUCCEEDED, AttemptOutcome.LOST
FULL_DISK = Path("/dev/full")
MEMORY_DISK = Path("/dev/shm")
HUGE = str(2**62)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Generator[FlakyS3]:
    """An S3 server that only these tests use."""
    server = FlakyS3(tmp_path_factory.mktemp("flaky-s3"))
    yield server
    server.down()


@pytest.fixture
def spooling(fleet: Fleet, s3: FlakyS3) -> Generator[Fleet]:
    """A queue on that S3 server, which is there at first."""
    with joined_fleet(fleet, s3.environment) as joined:
        yield joined


def outcomes(job: Job) -> list[AttemptOutcome | None]:
    """How its attempts ended."""
    return [attempt.outcome for attempt in job.attempts]


def assert_paid_once(fleet: Fleet, job: Job) -> None:
    """It succeeded at its first attempt, with one call, and its answer was noted."""
    assert job.state is JobState.SUCCEEDED, job.error
    (attempt,) = job.attempts
    assert (attempt.number, attempt.outcome) == (1, SUCCEEDED)
    assert attempt.answered
    (call,) = fleet.sandbox.calls(job.request.prompt)
    assert [image.sha256 for image in job.images] == call["images"]
    assert job.possible_extra_cost_usd == 0


def spool_of(fleet: Fleet) -> list[str]:
    """What is on the spool."""
    return sorted(path.name for path in fleet.settings.spool_dir.iterdir())


def test_a_worker_that_waits_for_s3_stores_the_image_when_it_is_back(spooling: Fleet, s3: FlakyS3) -> None:
    spooling.start_worker()
    s3.down()
    job = spooling.submit("spool, worker stays")
    answer_arrived(spooling, job)
    assert not spooling.queue.health()["s3"].ok
    assert spool_of(spooling) == [f"{job.id}.1"]
    s3.up()
    assert_paid_once(spooling, spooling.finished(job))
    spooling.eventually(lambda: spool_of(spooling) == [])


def test_a_killed_workers_answers_are_stored_by_the_next_one_on_its_disk(spooling: Fleet, s3: FlakyS3) -> None:
    killed = spooling.start_worker()
    first = spooling.finished(start_session(spooling, "spool session 1"))
    spooling.sandbox.add_fault({"delay": 1}, prompt="spool session 2")
    second, third = add_turn(spooling, first, "spool session 2"), add_turn(spooling, first, "spool session 3")
    spooling.in_call("spool session 2")
    s3.down()
    job = spooling.submit("spool, worker killed")
    answer_arrived(spooling, job)
    answer_arrived(spooling, second)
    spooling.kill(killed)
    s3.up()
    spooling.start_worker()
    ended = [spooling.finished(turn) for turn in (job, second, third)]
    for each in ended:
        assert_paid_once(spooling, each)
    assert chained([first, *ended[1:]])
    assert log_of(spooling).count("answer_salvaged") == 2
    spooling.eventually(lambda: spool_of(spooling) == [])


def test_a_worker_told_twice_to_stop_leaves_the_answer_to_the_next_one(spooling: Fleet, s3: FlakyS3) -> None:
    stopped = spooling.start_worker()
    s3.down()
    job = spooling.submit("spool, worker stopped")
    answer_arrived(spooling, job)
    assert stop_twice(spooling, stopped, seconds=10) == 0
    assert spooling.queue.get(job.id).state is JobState.RUNNING
    assert spool_of(spooling) == [f"{job.id}.1"]
    s3.up()
    spooling.start_worker()
    assert_paid_once(spooling, spooling.finished(job))


def test_an_answer_on_a_disk_that_nobody_comes_back_to_is_called_for_once_more(spooling: Fleet, s3: FlakyS3) -> None:
    killed = spooling.start_worker()
    s3.down()
    job = spooling.submit("spool, disk gone")
    answer_arrived(spooling, job)
    spooling.kill(killed)
    s3.up()
    other = str(spooling.folder / "other-spool")
    spooling.start_worker(IMAGEQUEUE_SPOOL_HOLD_SECONDS="2", IMAGEQUEUE_SPOOL_DIR=other)
    job = spooling.finished(job)
    assert (job.state, outcomes(job)) == (JobState.SUCCEEDED, [UNKNOWN, SUCCEEDED])
    assert job.attempts[0].error == "the answer was on a disk that no worker came back to"
    assert job.possible_extra_cost_usd == job.estimate.expected_usd
    assert len(spooling.sandbox.calls("spool, disk gone")) == 2


def test_two_workers_on_one_disk_never_take_the_answer_from_under_each_other(spooling: Fleet, s3: FlakyS3) -> None:
    slow = spooling.start_worker()
    spooling.start_worker(IMAGEQUEUE_WORKER_SLOTS="1")
    s3.down()
    jobs = [spooling.submit(f"spool, two workers {number}") for number in range(4)]
    for job in jobs:
        answer_arrived(spooling, job)
    os.killpg(slow.pid, signal.SIGSTOP)
    held = [job for job in jobs if f"-{slow.pid}-" in spooling.queue.get(job.id).attempts[0].worker]
    assert held
    spooling.eventually(lambda: log_of(spooling).count("answer_salvaged") == len(held))
    os.killpg(slow.pid, signal.SIGCONT)
    spooling.eventually(lambda: log_of(spooling, 0).count("lease_taken_back") == len(held))
    s3.up()
    for job in jobs:
        assert_paid_once(spooling, spooling.finished(job))


@pytest.mark.skipif(not FULL_DISK.exists() or not MEMORY_DISK.is_dir(), reason="only Linux has them")
def test_an_answer_that_the_disk_does_not_take_is_stored_from_memory(fleet: Fleet) -> None:
    job = fleet.submit("disk full")
    folder = fleet.settings.spool_dir / f"{job.id}.1"
    folder.mkdir(parents=True)
    (folder / "0").symlink_to(FULL_DISK)
    fleet.start_worker()
    assert_paid_once(fleet, fleet.finished(job))
    fleet.eventually(lambda: spool_of(fleet) == [])
    in_memory = MEMORY_DISK / f"imagequeue-{os.getuid()}" / fleet.folder.relative_to("/")
    assert [path for path in in_memory.glob("**/*") if path.is_file()] == []
    assert not in_memory.exists()


def test_workers_without_a_usable_spool_take_no_job_and_another_one_serves_it(fleet: Fleet) -> None:
    (fleet.folder / "a-file").touch()
    fleet.start_worker(IMAGEQUEUE_SPOOL_MIN_FREE_BYTES=HUGE)
    fleet.start_worker(IMAGEQUEUE_SPOOL_DIR=str(fleet.folder / "a-file"))
    job = fleet.submit("no spool")
    fleet.eventually(lambda: all("spool_disk_full" in log_of(fleet, number) for number in (0, 1)))
    assert fleet.queue.get(job.id).attempts == ()
    assert fleet.sandbox.calls("no spool") == []
    fleet.start_worker()
    assert_paid_once(fleet, fleet.finished(job))


def test_an_attempt_that_gets_no_folder_sends_nothing_and_the_next_one_succeeds(fleet: Fleet) -> None:
    job = fleet.submit("no folder for the attempt")
    fleet.settings.spool_dir.mkdir()
    (fleet.settings.spool_dir / f"{job.id}.1").touch()
    fleet.start_worker()
    job = fleet.finished(job)
    assert (job.state, outcomes(job)) == (JobState.SUCCEEDED, [LOST, SUCCEEDED])
    assert job.attempts[0].code == "spool_unwritable"
    assert job.possible_extra_cost_usd == 0
    assert len(fleet.sandbox.calls("no folder for the attempt")) == 1
