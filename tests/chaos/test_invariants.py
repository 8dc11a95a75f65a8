"""The checker finds nothing in a good run, and every rule catches its violation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from evidence import Evidence, JournalCall, Record, StoredImage, Submission, Try
from invariants import RULES, check, lost, silent_doubles

GENERATED, FIRST_TURN, SECOND_TURN, FAILED = "job_G", "job_T1", "job_T2", "job_F"
ESTIMATE = 0.01


def attempt(number: int = 1, outcome: str | None = "succeeded", **changes: Any) -> Try:
    start = 1_000 * number
    tried = Try(number=number, started=start, call_started=start + 10, ended=start + 500, outcome=outcome)
    return replace(tried, **changes)


def succeeded(job_id: str, **changes: Any) -> Record:
    job = Record(
        id=job_id,
        prompt=f"prompt of {job_id}",
        state="succeeded",
        finished=1_500,
        attempts=(attempt(),),
        images=(StoredImage(f"images/{job_id}/1/0.jpg", f"sha of {job_id}"),),
        estimate_usd=ESTIMATE,
        cost_usd=0.005,
        cost_by_usage_usd=0.005,
        raw=f"{job_id} succeeded",
    )
    return replace(job, **changes)


def answered(job: Record, number: int | None = None, **changes: Any) -> JournalCall:
    number = number or len(job.attempts)
    call = JournalCall(
        request_id=f"req_{job.id}_{number}",
        client_request_id=f"{job.id}-{number}",
        outcome="answered",
        status=200,
        images=tuple(image.sha256 for image in job.images),
        inputs=job.inputs,
    )
    return replace(call, **changes)


def good_run() -> Evidence:
    """A job that was called twice and owns up to it, a session of two turns, and a refused job."""
    generated = succeeded(GENERATED, attempts=(attempt(1, "unknown"), attempt(2)), possible_extra_usd=ESTIMATE)
    first = succeeded(FIRST_TURN, session_id="ses", turn=1, inputs=("sha of an upload",))
    second = succeeded(SECOND_TURN, session_id="ses", turn=2, inputs=(f"sha of {FIRST_TURN}",))
    second = replace(second, attempts=(attempt(1, started=1_600),))
    refused = Record(
        id=FAILED,
        prompt=f"prompt of {FAILED}",
        state="failed",
        finished=1_500,
        error_code="moderation_blocked",
        attempts=(attempt(1, "failed"),),
        raw="failed",
    )
    jobs = (generated, first, second, refused)
    lost_call = JournalCall("req_lost", f"{GENERATED}-1", outcome=None)
    refusal = JournalCall("req_refused", f"{FAILED}-1", outcome="fault:error", status=400)
    return Evidence(
        tough=True,
        submissions=tuple(Submission(job.prompt, "accepted", job.id) for job in jobs),
        records={job.id: job for job in jobs},
        calls=(lost_call, answered(generated), answered(first), answered(second), refusal),
        stored={image.key: image.sha256 for job in jobs for image in job.images},
        endings={job.id: (job.state,) for job in jobs},
        seen={job.id: job.raw for job in jobs},
    )


def with_job(evidence: Evidence, job_id: str, **changes: Any) -> Evidence:
    return replace(evidence, records={**evidence.records, job_id: replace(evidence.records[job_id], **changes)})


def with_call(evidence: Evidence, client_request_id: str, **changes: Any) -> Evidence:
    calls = [
        replace(call, **changes) if call.client_request_id == client_request_id else call for call in evidence.calls
    ]
    return replace(evidence, calls=tuple(calls))


def without(evidence: Evidence, job_id: str) -> Evidence:
    return replace(evidence, records={key: job for key, job in evidence.records.items() if key != job_id})


def more_calls(evidence: Evidence, *calls: JournalCall) -> Evidence:
    return replace(evidence, calls=(*evidence.calls, *calls))


Harm = Callable[[Evidence], Evidence]
EXTRA = JournalCall("req_extra", f"{GENERATED}-2", outcome="answered", status=200, images=(f"sha of {GENERATED}",))
HARMS: list[tuple[str, str, Harm]] = [
    ("an accepted job is never lost", "a job vanished", lambda run: without(run, GENERATED)),
    (
        "every job is listed",
        "a job is in no list",
        lambda run: replace(run, unlisted=frozenset({GENERATED})),
    ),
    (
        "queues are empty when all jobs have ended",
        "a lease stays",
        lambda run: replace(run, leftovers={"leases": 1}),
    ),
    (
        "a job exists once, and only if it was sent",
        "a refused job exists",
        lambda run: replace(run, submissions=(*run.submissions[1:], Submission(f"prompt of {GENERATED}", "refused"))),
    ),
    (
        "a job exists once, and only if it was sent",
        "one submit made two jobs",
        lambda run: replace(run, records={**run.records, "job_2": replace(run.records[GENERATED], id="job_2")}),
    ),
    ("every job ends", "a job is stuck", lambda run: with_job(run, GENERATED, state="running")),
    (
        "a job ends once",
        "two endings",
        lambda run: replace(run, endings={**run.endings, GENERATED: ("failed", "succeeded")}),
    ),
    ("a job ends once", "an ending nobody was told", lambda run: replace(run, endings={})),
    (
        "what has ended never changes",
        "another reading",
        lambda run: replace(run, seen={**run.seen, GENERATED: "failed"}),
    ),
    ("every attempt is told", "an attempt is missing", lambda run: with_job(run, GENERATED, attempts=(attempt(2),))),
    (
        "every attempt is told",
        "an attempt without an end",
        lambda run: with_job(run, GENERATED, attempts=(attempt(1, None), attempt(2))),
    ),
    (
        "every attempt is told",
        "two attempts succeeded",
        lambda run: with_job(run, GENERATED, attempts=(attempt(1), attempt(2))),
    ),
    (
        "every attempt is told",
        "a call that counts as lost",
        lambda run: with_job(run, GENERATED, attempts=(attempt(1, "lost"), attempt(2))),
    ),
    (
        "every failure and cancel has a reason",
        "a failure that nothing explains",
        lambda run: with_job(run, FAILED, error_code="provider_refused"),
    ),
    (
        "every failure and cancel has a reason",
        "given up although every retry was allowed",
        lambda run: with_job(run, FAILED, error_code="outcome_unknown"),
    ),
    (
        "every failure and cancel has a reason",
        "cancelled by nobody",
        lambda run: with_job(run, FAILED, state="cancelled", error_code="cancelled"),
    ),
    (
        "every failure and cancel has a reason",
        "halted behind a turn that succeeded",
        lambda run: with_job(run, SECOND_TURN, state="cancelled", error_code="previous_turn_failed", images=()),
    ),
    ("every image is stored", "an object is missing", lambda run: replace(run, stored={})),
    (
        "every image is stored",
        "other bytes",
        lambda run: replace(run, stored=dict.fromkeys(run.stored, "sha of something else")),
    ),
    ("every image is stored", "an image too few", lambda run: with_job(run, GENERATED, n=2)),
    (
        "every image comes from the job's own call",
        "somebody else's image",
        lambda run: with_call(run, f"{GENERATED}-2", images=("sha of another",)),
    ),
    (
        "every image comes from the job's own call",
        "an image out of nowhere",
        lambda run: replace(run, calls=tuple(call for call in run.calls if call.attempt != 2)),
    ),
    (
        "every image comes from the job's own call",
        "other inputs than recorded",
        lambda run: with_call(run, f"{SECOND_TURN}-1", inputs=("sha of another",)),
    ),
    (
        "every call belongs to one attempt",
        "a call of no attempt",
        lambda run: more_calls(run, replace(EXTRA, client_request_id=f"{GENERATED}-3")),
    ),
    (
        "every call belongs to one attempt",
        "a call without call_started",
        lambda run: with_job(
            run, GENERATED, attempts=(attempt(1, "lost", call_started=None), attempt(2)), possible_extra_usd=0.0
        ),
    ),
    ("every call belongs to one attempt", "an attempt called twice", lambda run: more_calls(run, EXTRA)),
    (
        "every call belongs to one attempt",
        "a call of unknown fate that counts as busy",
        lambda run: with_job(run, GENERATED, attempts=(attempt(1, "busy"), attempt(2)), possible_extra_usd=0.0),
    ),
    (
        "nothing is paid twice in silence",
        "a paid call that counts as busy",
        lambda run: with_call(
            with_job(run, GENERATED, attempts=(attempt(1, "busy"), attempt(2)), possible_extra_usd=0.0),
            f"{GENERATED}-1",
            outcome="answered",
            images=("sha of a lost image",),
        ),
    ),
    (
        "nothing is paid twice in silence",
        "a paid call of no attempt",
        lambda run: more_calls(run, replace(EXTRA, client_request_id=f"{GENERATED}-3")),
    ),
    (
        "turns run in order on each other's images",
        "a turn edited another image",
        lambda run: with_job(run, SECOND_TURN, inputs=("sha of an upload",)),
    ),
    (
        "turns run in order on each other's images",
        "two turns at once",
        lambda run: with_job(run, SECOND_TURN, attempts=(attempt(1, started=1_400),)),
    ),
    (
        "turns run in order on each other's images",
        "a number was left out",
        lambda run: with_job(run, SECOND_TURN, turn=3),
    ),
    ("the money adds up", "another cost than by usage", lambda run: with_job(run, GENERATED, cost_usd=0.004)),
    (
        "the money adds up",
        "no cost at all",
        lambda run: with_job(run, GENERATED, cost_usd=None, cost_by_usage_usd=None),
    ),
    (
        "the money adds up",
        "a call of unknown fate that cost nothing for sure",
        lambda run: with_job(run, FAILED, attempts=(attempt(1, "unknown"),), cost_usd=0.0),
    ),
    (
        "the money adds up",
        "an extra call that does not count",
        lambda run: with_job(run, GENERATED, possible_extra_usd=0.0),
    ),
    ("usage is the sum of the records", "a job is counted twice", lambda run: replace(run, usage_told="2 jobs")),
]


def test_a_good_run_has_no_violations() -> None:
    assert check(good_run()) == []
    assert lost(good_run()) == set()
    assert silent_doubles(good_run()) == []


@pytest.mark.parametrize(("rule", "what", "harm"), HARMS, ids=[what for _, what, _ in HARMS])
def test_a_violation_is_found_by_its_rule(rule: str, what: str, harm: Harm) -> None:
    found = check(harm(good_run()))
    assert rule in {violation.rule for violation in found}, (what, found)


def test_every_rule_was_seen_to_catch_something() -> None:
    assert {rule for rule, _, _ in HARMS} == set(RULES)


def test_giving_up_is_honest_under_the_default_limits_alone() -> None:
    given_up = with_job(good_run(), FAILED, error_code="outcome_unknown", attempts=(attempt(1, "unknown"),))
    given_up = with_call(given_up, f"{FAILED}-1", outcome=None, status=None)
    given_up = with_job(given_up, FAILED, estimate_usd=ESTIMATE, possible_extra_usd=ESTIMATE)
    assert check(replace(given_up, tough=False)) == []
    assert [violation.job_id for violation in check(given_up)] == [FAILED]


def test_turns_behind_a_failed_one_are_halted_for_a_reason() -> None:
    run = with_job(good_run(), FAILED, session_id="ses", turn=3)
    halted = Record(id="job_H", prompt="halted", state="cancelled", error_code="previous_turn_failed", raw="halted")
    halted = replace(halted, session_id="ses", turn=4, finished=2_000)
    run = with_job(run, FAILED, attempts=(attempt(1, "failed", started=1_700),), finished=1_900)
    run = replace(
        run,
        records={**run.records, halted.id: halted},
        submissions=(*run.submissions, Submission("halted", "accepted", halted.id)),
        endings={**run.endings, halted.id: ("cancelled",)},
    )
    assert check(run) == []


def test_a_job_that_never_ended_and_one_that_vanished_are_lost() -> None:
    stuck = with_job(good_run(), FIRST_TURN, state="queued")
    assert lost(without(stuck, GENERATED)) == {FIRST_TURN, GENERATED}
