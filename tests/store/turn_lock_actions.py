"""What happens in the turn-lock model: actions of the real store on what Redis held in the state they start from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from typing import Final, Generic, NamedTuple, TypeVar, cast

from store_kit import BUSY, HOUR_MS, OWNER, Bench, new_job
from turn_kit import FIRST_TURN, LATER_TURN, painted
from turn_lock_rules import (
    Violation,
    check_answer,
    check_claim,
    check_promotion,
    check_state,
    check_step,
    check_success,
)
from turn_lock_state import Budget, State, Worker
from turn_lock_view import LAPSED_MS, SESSION_ID, TURNS, Records, View, job_id, turn_of

from imagequeue.errors import SessionClosed
from imagequeue.jobs import AttemptOutcome, Result
from imagequeue.sessions import NewSession, SessionSubmit
from imagequeue.store.attempts import AttemptStore, RetryLimits, job_id_of, lease_of

_NEW_SESSION: Final = NewSession(id=SESSION_ID, owner=OWNER, output_format="png")
_START: Final = SessionSubmit("start", fields=_NEW_SESSION.fields)
_CONTINUE: Final = SessionSubmit("continue", HOUR_MS, len(TURNS))
_DRAIN_ROUNDS: Final = 10

Answer = TypeVar("Answer")


class Done(NamedTuple, Generic[Answer]):
    """What an action answered, what Redis held then, and whether anything in it had changed."""

    answer: Answer
    view: View
    changed: bool


class Actions:
    """The actions of workers, sweeper and client. Each gives the state after it.

    What an action does to Redis depends on what Redis held alone: it is done and checked once, and then known.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._store = AttemptStore(bench.client, bench.keys, RetryLimits(losses=2, suspect_from=99, unknowns=1))
        self._records = Records(bench.client, bench.keys)
        self._redis = ""  # what Redis holds now
        self._views: dict[str, View] = {}
        self._known: dict[tuple[str, object], Done[object]] = {}
        self._drained: set[str] = set()

    def start(self, budget: Budget) -> State:
        """A new session with two turns; the client may submit the last one at any time."""
        for turn, joins in ((1, _START), (2, _CONTINUE)):
            self._submit(turn, joins)
        view = self._look()
        check_state(view)
        self._views[view.key] = view
        return State(view, (Worker("L"), Worker("R")), budget)

    @property
    def seen(self) -> Collection[View]:
        """What Redis held, each content once."""
        return self._views.values()

    @property
    def executed(self) -> int:
        """How many actions were done, on distinct contents of Redis."""
        return len(self._known)

    # Workers

    def deliver(self, turn: int, worker: Worker, state: State) -> State:
        """An idle worker receives a hint."""
        holder = f"{worker.name}{state.budget.crashes}"  # another one after a crash
        done = self._done(
            state, ("claim", turn, holder), lambda: self._store.claim(job_id(turn), worker.name, holder, HOUR_MS)
        )
        check_claim(state.view, turn, done.answer, done.changed)
        return state.after(done.view, replace(worker, claim=done.answer))

    def start_call(self, worker: Worker, state: State) -> State:
        """A worker reads the session's image and is about to send it."""
        claim = worker.held
        what = ("start_call", lease_of(claim))
        done = self._done(state, what, lambda: self._store.start_call(claim, "direct"))
        check_answer(state.view, claim, done.answer, done.changed)
        calling = replace(worker, calling=True, edits=state.view.image)
        return state.after(done.view, {"started": calling, "cancelled": worker, "refused": worker.idle}[done.answer])

    def succeed(self, worker: Worker, state: State) -> State:
        """A worker finishes with an image."""
        claim = worker.held
        result, image = painted(claim)
        done = self._done(state, ("succeed", lease_of(claim)), lambda: self._store.finish(claim, result, image))
        check_answer(state.view, claim, done.answer.answer, done.changed)
        if done.answer.answer == "finished":
            check_success(state.view, done.view, turn_of(claim.job.id), worker.edits, image.key)
            check_promotion(done.view, done.answer.next_job_id)
        return state.after(done.view, worker.idle)

    def end_without_image(self, result: Result, spends: str, worker: Worker, state: State) -> State:
        """A worker finishes with an error, or because it was asked to stop."""
        claim = worker.held
        what = (result.state, lease_of(claim))
        done = self._done(state, what, lambda: self._store.finish(claim, result))
        check_answer(state.view, claim, done.answer.answer, done.changed)
        if done.answer.answer == "refused":
            return state.after(done.view, worker.idle)
        check_promotion(done.view, done.answer.next_job_id)
        return state.after(done.view, worker.idle, spends)

    def release(self, worker: Worker, state: State) -> State:
        """A worker puts its turn back, to be tried again at once."""
        claim = worker.held
        what = ("release", lease_of(claim))
        done = self._done(state, what, lambda: self._store.release(claim, AttemptOutcome.BUSY, BUSY, 0, None))
        check_answer(state.view, claim, done.answer, done.changed)
        if done.answer == "released":
            return state.after(done.view, worker.idle, "releases")
        return state.after(done.view, worker if done.answer == "cancelled" else worker.idle)

    def crash(self, worker: Worker, state: State) -> State:
        """A worker forgets everything."""
        return state.after(state.view, worker.idle, "crashes")

    # Sweeper and client

    def lapse(self, lease: str, state: State) -> State:
        """A worker goes silent for so long that its lease runs out."""
        return state.after(self._done(state, ("lapse", lease), lambda: self._lapse(lease)).view, None, "lapses")

    def sweep(self, job: str, lease: str, state: State) -> State:
        """The sweeper looks at a lapsed lease, or at a turn whose delay is over."""
        return state.after(self._done(state, ("sweep", job, lease), lambda: self._store.sweep(job, lease)).view)

    def cancel_halted(self, entry: str, state: State) -> State:
        """The sweeper cancels a turn that was taken out of the session."""
        return state.after(self._done(state, ("halted", entry), lambda: self._store.cancel_halted(entry)).view)

    def cancel(self, turn: int, state: State) -> State:
        """The client cancels a turn."""
        done = self._done(state, ("cancel", turn), lambda: self._store.cancel(self._store.get(job_id(turn))))
        if done.answer.answer == "cancelled" and state.view.queue[:1] == [turn]:
            check_promotion(done.view, done.answer.next_job_id)
        return state.after(done.view, None, "cancels")

    def submit_last(self, state: State) -> State:
        """The client adds the last turn; an ended session refuses it."""
        return state.after(self._done(state, "submit", lambda: self._submit(len(TURNS), _CONTINUE)).view)

    def end_session(self, state: State) -> State:
        """The client ends the session."""
        sessions = self._bench.sessions
        return state.after(self._done(state, "end", lambda: sessions.end(sessions.get(SESSION_ID))).view, None, "ends")

    # Redis

    def _done(self, state: State, what: object, action: Callable[[], Answer]) -> Done[Answer]:
        """Do it, look, and check what holds of every step; or tell what came of it before."""
        before = state.view
        known = self._known.get((before.key, what))
        if known is None:
            self._restore(before)
            answer, view = action(), self._look()
            check_step(before, view)
            check_state(view)
            self._check_drains(view)
            after = self._views.setdefault(view.key, view)
            known = self._known[(before.key, what)] = Done(answer, after, view.records != before.records)
        return cast("Done[Answer]", known)

    def _check_drains(self, view: View) -> None:
        """Whatever was lost: the sweeper and a healthy worker bring every turn to its end."""
        passed: list[str] = []
        for _ in range(_DRAIN_ROUNDS):
            if view.ended or view.key in self._drained:
                self._drained.update(passed)
                return
            passed.append(view.key)
            view = self._drain_once(view)
            check_state(view)
        raise Violation("no turn is lost")

    def _drain_once(self, view: View) -> View:
        """All workers fall silent, and then a healthy one does all that the sweeper finds."""
        self._restore(view)
        for lease in view.leases:
            self._lapse(lease)
        due = self._bench.due()
        for lease in due.lapsed:
            self._store.sweep(job_id_of(lease), lease)
        for job in due.delayed:
            self._store.sweep(job)
        for entry in due.halted:
            self._store.cancel_halted(entry)
        for job in self._bench.due().unsent:
            if claim := self._store.claim(job, "D", "D", HOUR_MS):
                self._store.start_call(claim, "direct")
                self._store.finish(claim, *painted(claim))
        return self._look()

    def _lapse(self, lease: str) -> None:
        self._bench.raw.zadd(self._bench.keys.leases, {lease: LAPSED_MS})

    def _submit(self, turn: int, joins: SessionSubmit) -> None:
        request = FIRST_TURN if turn == 1 else LATER_TURN
        with suppress(SessionClosed):
            self._store.submit(new_job(id=job_id(turn), request=request, session_id=SESSION_ID), joins)

    def _restore(self, view: View) -> None:
        if self._redis != view.text:
            self._records.write(view.text)
            self._redis = view.text

    def _look(self) -> View:
        self._redis = self._records.read()
        return View(self._redis)
