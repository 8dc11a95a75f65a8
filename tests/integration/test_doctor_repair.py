"""`imagequeue doctor --repair` sets right what crashes left behind while no worker is there to do it."""

from __future__ import annotations

import json
from pathlib import Path

from cli_kit import Shell, clean_environment
from fleet_kit import Fleet

from imagequeue.jobs import AttemptOutcome, Claim, Job, JobState
from imagequeue.store.attempts import AttemptStore
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys

NOWHERE = "http://127.0.0.1:1"


def shell_of(fleet: Fleet, folder: Path) -> Shell:
    """The command where the workers' variables are set and nothing runs but Redis, S3 and OpenAI."""
    return Shell(folder, clean_environment(folder / "data") | fleet.environment | {"IMAGEQUEUE_API_URL": NOWHERE})


def repair(shell: Shell, **environment: str) -> tuple[str, str]:
    """Verdict and finding of the repair."""
    done = shell("doctor", "--repair", "--json", **environment)
    found = {check["name"]: check for check in json.loads(done.out)}
    return found["repair"]["verdict"], found["repair"]["detail"]


def lose(fleet: Fleet, job: Job, *, called: bool = False) -> None:
    """Leave the job to a worker that dies with it."""
    client = connect(fleet.settings.redis_url)
    store = AttemptStore(client, Keys(fleet.settings.key_prefix))
    claim = store.claim(job.id, "dead-worker", "dead-worker/1", 1)
    assert isinstance(claim, Claim)
    if called:
        assert store.start_call(claim, "direct") == "started"
    client.close()


def test_hints_and_leases_that_were_lost_are_set_right_and_a_worker_finishes_all(fleet: Fleet, tmp_path: Path) -> None:
    hintless = [fleet.submit(f"repair hint {number}") for number in range(3)]
    lost, called = fleet.submit("repair lost"), fleet.submit("repair called")
    lose(fleet, lost)
    lose(fleet, called, called=True)
    assert fleet.redis.delete(f"{fleet.settings.key_prefix}interactive") == 1
    shell = shell_of(fleet, tmp_path)
    verdict, found = repair(shell)
    assert verdict == "ok"
    assert "2 leases taken back" in found
    assert fleet.queue.get(lost.id).state is JobState.QUEUED
    fleet.start_worker()
    ended = [fleet.finished(job) for job in (*hintless, lost, called)]
    assert {job.state for job in ended} == {JobState.SUCCEEDED}
    assert [job.attempts[0].outcome for job in ended[3:]] == [AttemptOutcome.LOST, AttemptOutcome.UNKNOWN]
    assert repair(shell) == ("ok", "nothing had to be set right")


def test_lost_hints_alone_are_replaced_before_any_worker_runs(fleet: Fleet, tmp_path: Path) -> None:
    jobs = [fleet.submit(f"repair only hints {number}") for number in range(3)]
    broker_list = f"{fleet.settings.key_prefix}interactive"
    assert fleet.redis.delete(broker_list) == 1
    assert repair(shell_of(fleet, tmp_path)) == ("ok", "3 lost hints replaced")
    assert fleet.redis.llen(broker_list) == len(jobs)


def test_hints_that_wait_for_a_worker_are_left_alone(fleet: Fleet, tmp_path: Path) -> None:
    jobs = [fleet.submit(f"repair nothing {number}") for number in range(3)]
    assert repair(shell_of(fleet, tmp_path)) == ("ok", "nothing had to be set right")
    assert fleet.redis.llen(f"{fleet.settings.key_prefix}interactive") == len(jobs)


def test_after_a_time_without_sweeps_it_waits_until_nobody_alive_can_be_robbed(fleet: Fleet, tmp_path: Path) -> None:
    job = fleet.submit("repair after an outage")
    lose(fleet, job)
    fleet.redis.hset(Keys(fleet.settings.key_prefix).sweeps, "at", 1)
    verdict, found = repair(shell_of(fleet, tmp_path))
    assert (verdict, "1 leases taken back" in found) == ("ok", True)
    assert fleet.queue.get(job.id).state is JobState.QUEUED


def test_bad_settings_are_named_and_nothing_is_touched(fleet: Fleet, tmp_path: Path) -> None:
    job = fleet.submit("repair with bad settings")
    lose(fleet, job)
    done = shell_of(fleet, tmp_path)("doctor", "--repair", IMAGEQUEUE_LEASE_SECONDS="soon")
    assert done.code == 1
    assert "IMAGEQUEUE_LEASE_SECONDS" in done.out
    assert "repair:" not in done.out
    assert "Traceback" not in done.out + done.err
    assert fleet.queue.get(job.id).state is JobState.RUNNING


def test_a_redis_that_does_not_answer_is_named_with_what_to_do(fleet: Fleet, tmp_path: Path) -> None:
    done = shell_of(fleet, tmp_path)("doctor", "--repair", IMAGEQUEUE_REDIS_URL="redis://127.0.0.1:1/0")
    (line,) = [line for line in done.out.splitlines() if "repair:" in line]
    assert done.code == 1
    assert line.startswith("✗ repair: Redis does not serve")
    assert "Check IMAGEQUEUE_REDIS_URL" in line


def test_where_no_redis_is_known_it_says_how_to_name_one(tmp_path: Path) -> None:
    shell = Shell(tmp_path, clean_environment(tmp_path / "data") | {"IMAGEQUEUE_API_URL": NOWHERE})
    verdict, found = repair(shell)
    assert (verdict, found) == ("skipped", "not done: Redis is not known here")
