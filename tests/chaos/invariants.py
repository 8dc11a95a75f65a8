"""What must be true after any run, whatever was done to it. Pure: evidence in, violations out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from evidence import Evidence, JournalCall, Record, Try

FAILURES_BY_FAULT: Final = {
    "moderation_blocked": frozenset({"400"}),
    "bad_output": frozenset({"broken_base64", "empty_list", "not_an_image"}),
}
"""Error codes that a job may end with because a fault in OpenAI's answer says so."""
HONEST_LOSSES: Final = frozenset({"outcome_unknown", "worker_lost"})
"""Error codes that say that the product gave up; only under its default limits."""
_REPEATED: Final = frozenset({"unknown", "busy", "lost"})
"""How an attempt may end that another one follows."""
_SERVED: Final = frozenset({"succeeded", "unknown", "cancelled"})
_FATE_UNKNOWN: Final = frozenset({"unknown", "cancelled"})
_NOT_SERVED: Final = frozenset({"busy", "failed", "unknown", "cancelled"})
_MONEY_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold, and where."""

    rule: str
    job_id: str
    detail: str


Rule = Callable[[Evidence], Iterator[tuple[str, str]]]
"""Gives job and detail of each place where it does not hold."""


def check(evidence: Evidence) -> list[Violation]:
    """All violations, rule by rule."""
    return [Violation(name, *found) for name, rule in RULES.items() for found in rule(evidence)]


def silent_doubles(evidence: Evidence) -> list[JournalCall]:
    """Calls that were answered with images, and that the job's record does not own up to."""
    tries = _tries(evidence)
    silent: list[JournalCall] = []
    for call in evidence.calls:
        found = tries.get((call.job_id, call.attempt))
        owned_up = found is not None and (found.outcome in _SERVED or (found.outcome == "failed" and call.fault))
        if call.images and not owned_up:
            silent.append(call)
    return silent


def lost(evidence: Evidence) -> set[str]:
    """Accepted jobs that are gone, and jobs that never ended."""
    accepted = {sent.job_id for sent in evidence.submissions if sent.job_id}
    return (accepted - set(evidence.records)) | {job.id for job in evidence.records.values() if not job.terminal}


def _kept(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for sent in evidence.submissions:
        if sent.job_id and sent.job_id not in evidence.records:
            yield sent.job_id, f"was accepted ({sent.prompt!r}) and cannot be read any more"


def _listed(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for job_id in sorted(evidence.unlisted):
        yield job_id, "can be read, and no list shows it"


def _cleared(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for key, count in evidence.leftovers.items():
        if count:
            yield "", f"{key} still holds {count} entries"


def _submitted_once(evidence: Evidence) -> Iterator[tuple[str, str]]:
    sent = {submission.prompt: submission for submission in evidence.submissions}
    by_prompt = Counter(job.prompt for job in evidence.records.values())
    for job in evidence.records.values():
        submission = sent.get(job.prompt)
        if submission is None or submission.fate in ("refused", "skipped"):
            yield job.id, f"{job.prompt!r} exists although it was {submission.fate if submission else 'never sent'}"
        if by_prompt[job.prompt] > 1:
            yield job.id, f"{job.prompt!r} was sent once and exists {by_prompt[job.prompt]} times"


def _ended(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for job in evidence.records.values():
        if not job.terminal:
            yield job.id, f"is still {job.state}"


def _ended_once(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for job in evidence.records.values():
        endings = evidence.endings.get(job.id, ())
        if job.terminal and endings != (job.state,):
            yield job.id, f"is {job.state}, and its event stream tells of the endings {endings}"


def _unchanged(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for job_id, raw in evidence.seen.items():
        job = evidence.records.get(job_id)
        if job is not None and job.raw != raw:
            yield job_id, f"had ended as {raw} and reads now {job.raw}"


def _attempts_told(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for job in evidence.records.values():
        if not job.terminal:
            continue
        if [attempt.number for attempt in job.attempts] != list(range(1, len(job.attempts) + 1)):
            yield job.id, f"has attempts {[attempt.number for attempt in job.attempts]}"
        for attempt in job.attempts:
            yield from ((job.id, f"attempt {attempt.number} {fault}") for fault in _odd(job, attempt))
        succeeded = sum(attempt.outcome == "succeeded" for attempt in job.attempts)
        if succeeded != (job.state == "succeeded"):
            yield job.id, f"is {job.state} with {succeeded} attempts that succeeded"


def _odd(job: Record, attempt: Try) -> Iterator[str]:
    if attempt.outcome is None or attempt.ended is None:
        yield "has no end although the job has"
    if attempt.outcome in ("unknown", "succeeded") and attempt.call_started is None:
        yield f"is {attempt.outcome} without a call"
    if attempt.outcome == "lost" and attempt.call_started is not None:
        yield "is lost although its call had begun: its outcome is unknown"
    if attempt is not job.attempts[-1] and attempt.outcome not in _REPEATED:
        yield f"is {attempt.outcome}, and another one followed"


def _explained(evidence: Evidence) -> Iterator[tuple[str, str]]:
    faults = {(call.job_id, call.attempt): call.fault for call in evidence.calls}
    sessions = _sessions(evidence)
    for job in evidence.records.values():
        code = job.error_code
        last = job.attempts[-1].number if job.attempts else 0
        if job.state == "failed":
            by_fault = faults.get((job.id, last)) in FAILURES_BY_FAULT.get(code or "", ())
            if not by_fault and not (code in HONEST_LOSSES and not evidence.tough):
                yield job.id, f"failed with {code}, and nothing that was done to it explains that"
        halted = code == "previous_turn_failed" and _has_to_halt(job, sessions.get(job.session_id or "", []))
        if job.state == "cancelled" and job.id not in evidence.cancels and not halted:
            yield job.id, f"is cancelled ({code}), and nobody asked for it"


def _has_to_halt(job: Record, turns: list[Record]) -> bool:
    """Whether a turn before it failed, or none before it left an image to edit."""
    before = [turn.state for turn in turns if (turn.turn or 0) < (job.turn or 0)]
    return "failed" in before or ("cancelled" in before and "succeeded" not in before)


def _sessions(evidence: Evidence) -> Mapping[str, list[Record]]:
    """The turns of each session, by number."""
    sessions: defaultdict[str, list[Record]] = defaultdict(list)
    for job in sorted(evidence.records.values(), key=lambda job: job.turn or 0):
        if job.session_id:
            sessions[job.session_id].append(job)
    return sessions


def _images_stored(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for job in evidence.records.values():
        if job.state == "succeeded" and len(job.images) != job.n:
            yield job.id, f"asked for {job.n} images and has {len(job.images)}"
        if job.state != "succeeded" and job.images:
            yield job.id, f"is {job.state} and has images"
        for image in job.images:
            if evidence.stored.get(image.key) != image.sha256:
                yield job.id, f"{image.key} must be {image.sha256} and is {evidence.stored.get(image.key)}"


def _images_answered(evidence: Evidence) -> Iterator[tuple[str, str]]:
    answers = {(call.job_id, call.attempt): call for call in evidence.calls}
    for job in evidence.records.values():
        if job.state != "succeeded" or not job.attempts:
            continue
        call = answers.get((job.id, job.attempts[-1].number))
        if call is None or call.images != tuple(image.sha256 for image in job.images):
            yield job.id, f"has images that its attempt {job.attempts[-1].number} was not answered with: {call}"
        elif call.inputs != job.inputs:
            yield job.id, f"says that its inputs were {job.inputs}, and OpenAI got {call.inputs}"


def _calls_owned(evidence: Evidence) -> Iterator[tuple[str, str]]:
    tries, counts = _tries(evidence), Counter(call.client_request_id for call in evidence.calls)
    for call in evidence.calls:
        attempt = tries.get((call.job_id, call.attempt))
        if attempt is None or attempt.call_started is None:
            yield call.job_id, f"{call} belongs to no attempt that says it called"
        elif attempt.outcome not in _allowed(call):
            yield call.job_id, f"{call} belongs to an attempt that says it ended {attempt.outcome}"
        if counts[call.client_request_id] > 1:
            yield call.job_id, f"attempt {call.attempt} called {counts[call.client_request_id]} times"


def _allowed(call: JournalCall) -> frozenset[str]:
    """How an attempt may say that it ended, by what OpenAI's side saw of its call."""
    if call.outcome == "answered":
        return _SERVED
    if call.outcome in (None, "client_gone") or call.fault in ("hang", "drop_before", "drop_middle"):
        return _FATE_UNKNOWN
    return _NOT_SERVED  # answered with an error, or with something unusable


def _none_silent(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for call in silent_doubles(evidence):
        yield call.job_id, f"{call} was paid for, and the job's record does not say so"


def _turns_in_order(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for turns in _sessions(evidence).values():
        yield from _chained(turns)


def _chained(turns: list[Record]) -> Iterator[tuple[str, str]]:
    if [job.turn for job in turns] != list(range(1, len(turns) + 1)):
        yield turns[0].id, f"is in a session of the turns {[job.turn for job in turns]}"
    good = [job for job in turns if job.state == "succeeded" and job.images]
    for before, after in pairwise(good):
        if after.inputs[:1] != (before.images[0].sha256,):
            yield after.id, f"turn {after.turn} did not edit the image of turn {before.turn}"
    ran = [job for job in turns if job.attempts]
    for before, after in pairwise(ran):
        if before.finished is None or after.attempts[0].started < before.finished:
            yield after.id, f"turn {after.turn} began before turn {before.turn} had ended"


def _money_adds_up(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for job in evidence.records.values():
        nothing_spent = job.state != "succeeded" and not any(
            last.maybe_billed_for_nothing for last in job.attempts[-1:]
        )
        told = (
            {job.cost_by_usage_usd, 0.0} if nothing_spent and job.cost_by_usage_usd is None else {job.cost_by_usage_usd}
        )
        if job.cost_usd not in told or (job.state == "succeeded" and job.cost_usd is None):
            yield job.id, f"costs {job.cost_usd} by its record and {job.cost_by_usage_usd} by its usage"
        extra = sum(attempt.maybe_billed_for_nothing for attempt in job.attempts) * job.estimate_usd
        if abs(extra - job.possible_extra_usd) > _MONEY_TOLERANCE:
            yield job.id, f"may have cost {extra} extra by its attempts and {job.possible_extra_usd} by its record"


def _usage_adds_up(evidence: Evidence) -> Iterator[tuple[str, str]]:
    if evidence.usage_told != evidence.usage_summed:
        yield "", f"the usage figures are {evidence.usage_told}, and the records add up to {evidence.usage_summed}"


def _tries(evidence: Evidence) -> Mapping[tuple[str, int], Try]:
    return {(job.id, attempt.number): attempt for job in evidence.records.values() for attempt in job.attempts}


RULES: Final[Mapping[str, Rule]] = {
    "an accepted job is never lost": _kept,
    "every job is listed": _listed,
    "queues are empty when all jobs have ended": _cleared,
    "a job exists once, and only if it was sent": _submitted_once,
    "every job ends": _ended,
    "a job ends once": _ended_once,
    "what has ended never changes": _unchanged,
    "every attempt is told": _attempts_told,
    "every failure and cancel has a reason": _explained,
    "every image is stored": _images_stored,
    "every image comes from the job's own call": _images_answered,
    "every call belongs to one attempt": _calls_owned,
    "nothing is paid twice in silence": _none_silent,
    "turns run in order on each other's images": _turns_in_order,
    "the money adds up": _money_adds_up,
    "usage is the sum of the records": _usage_adds_up,
}
