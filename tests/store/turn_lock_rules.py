"""What must hold of a session's turns: in every state, and in every step from one state to the next."""

from __future__ import annotations

from turn_lock_view import View, job_id, turn_of

from imagequeue.jobs import Claim


class Violation(AssertionError):
    """A rule is broken."""


def require(holds: bool, rule: str) -> None:
    """Complain unless the rule holds."""
    if not holds:
        raise Violation(rule)


def check_state(view: View) -> None:
    """What holds of every state."""
    over_or_halted = {turn for turn, record in view.turns.items() if record.over or turn in view.halted}
    require(len(view.running) <= 1, "at most one turn runs")
    require(
        view.queue == [turn for turn in view.turns if turn not in over_or_halted], "no turn is lost or out of order"
    )
    for turn in view.running:
        record = view.turns[turn]
        require(turn == view.queue[0], "a turn runs only when all before it are over")
        require(
            view.session.get("turn_lock") == f"{job_id(turn)}:{record.attempt}", "the lock names the running attempt"
        )
        leases = [f"{job_id(turn)}:{record.attempt}:{record.holder}"]
        require(list(view.leases) == leases, "the running attempt alone has a lease")
    if not view.running:
        require("turn_lock" not in view.session and not view.leases, "without a running turn nobody holds the lock")
    _check_queues(view)
    _check_image(view)


def _check_queues(view: View) -> None:
    head = [turn for turn in view.queue[:1] if view.turns[turn].state == "queued"]
    ended_while_queued = [turn for turn in view.waiting if turn in view.halted]
    require(not ended_while_queued or view.session["state"] == "ended", "halted turns have left the queue")
    waiting = [turn for turn in view.waiting if turn not in view.halted]
    require(waiting == head, "the queue holds the first of the turns, when it does not run, and no other")
    hinted = (view.outbox | view.delayed) - set(view.halted)
    require(hinted == set(head), "the first of the turns gets a hint, and no other")
    states = {view.turns[turn].state for turn in view.halted}
    require(states <= {"queued", "cancelled"}, "a halted turn never runs")


def _check_image(view: View) -> None:
    last = view.last_succeeded
    require(view.image == (view.turns[last].image if last else ""), "the session's image is the last good one")
    require(view.session.get("turn", "0") == str(last), "the session's turn is the last that succeeded")


def check_step(before: View, after: View) -> None:
    """What holds of every step, whoever took it."""
    for turn, record in before.turns.items():
        now = after.turns[turn]
        if record.over:
            require(now.raw == record.raw, "a turn that is over never changes")
        if now.state in ("running", "succeeded") and record.state != now.state:
            _check_order(before, turn)
        if now.state == "failed" and record.state != "failed":
            behind = {other for other in before.queue if other > turn}
            require(behind <= set(after.halted), "what waits behind a failed turn is halted")
        if turn in before.halted and turn not in after.halted:
            require(now.over, "a halted turn is cancelled before it is forgotten")


def _check_order(before: View, turn: int) -> None:
    earlier = [other for other in before.turns if other < turn and other not in before.halted]
    require(
        all(before.turns[other].over for other in earlier), "no turn starts or succeeds before its predecessors end"
    )


def is_current(view: View, claim: Claim) -> bool:
    """Whether a claim is the one that the records know."""
    record = view.turns[turn_of(claim.job.id)]
    return (record.state, record.attempt, record.holder) == ("running", claim.attempt, claim.holder)


def check_claim(before: View, turn: int, claim: Claim | None, changed: bool) -> None:
    """A hint is obeyed only when the turn is the first of those that wait."""
    may = before.queue[:1] == [turn] and before.turns[turn].state == "queued"
    require((claim is not None) == may, "the first turn that waits is given, and no other")
    if claim is None:
        require(not changed, "what is refused changes nothing")
    else:
        require(claim.attempt == before.turns[turn].attempt + 1, "each claim has a number of its own")


def check_promotion(after: View, next_job_id: str | None) -> None:
    """The turn that is named as next is the first of those that wait."""
    head = [job_id(turn) for turn in after.queue[:1]]
    require(head == ([next_job_id] if next_job_id else []), "the turn that is next is promoted and named")


def check_answer(before: View, claim: Claim, answer: str, changed: bool) -> None:
    """The holder of the lock is served; everybody else is refused, and changes nothing."""
    if is_current(before, claim):
        require(answer != "refused", "the current attempt is served")
    else:
        require(answer == "refused", "only the current attempt is served")
        require(not changed, "what is refused changes nothing")


def check_success(before: View, after: View, turn: int, edited: str, painted: str) -> None:
    """A turn that succeeded edited the last good image and handed over its own."""
    last = before.last_succeeded
    require(edited == (before.turns[last].image if last else ""), "a turn edits the last turn's image")
    require(after.image == after.turns[turn].image == painted, "a turn hands over its own image")
