"""Explores every interleaving of two workers, a client and the sweeper over one edit session of three turns.

The store and its scripts are the real ones, on a real Redis: before each step, what Redis held in the state that it
starts from is put back. Hints may arrive at any time, in any order, any number of times, at any idle worker. A worker
whose lease lapsed may come back at any time with its old claim; one that crashed has forgotten it. What could go on for
ever is limited by the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from store_kit import FAILED, GIVEN_UP, Bench
from turn_lock_actions import Actions
from turn_lock_rules import Violation
from turn_lock_state import Budget, State, Worker
from turn_lock_view import TURNS, job_id, turn_of

Step = Callable[[State], State]
WorkerStep = Callable[[Worker, State], State]


@dataclass(frozen=True, slots=True)
class Report:
    """How far an exploration went."""

    states: int
    transitions: int
    contents: int  # distinct contents of Redis; each was drained: all turns came to their end
    executed: int  # distinct actions on them
    endings: frozenset[tuple[str, ...]]  # the states in which the turns ended, in the order of the turns

    def __str__(self) -> str:
        """For people."""
        return (
            f"{self.states:,} states, {self.transitions:,} transitions; "
            f"{self.contents:,} contents of Redis, {self.executed:,} actions on them"
        )


class Model:
    """One exploration, on a store of its own."""

    def __init__(self, bench: Bench, budget: Budget) -> None:
        self._actions = Actions(bench)
        self._budget = budget

    def explore(self) -> Report:
        """Visit every state that can be reached, depth first.

        Raises:
            Violation: a rule is broken; with the steps that led there.
        """
        start = self._actions.start(self._budget)
        transitions = 0
        seen, to_visit = {start.key}, [start]
        while to_visit:
            state = to_visit.pop()
            for label, step in self._steps(state):
                transitions += 1
                after = _taken(state, label, step)
                if after.key not in seen:
                    seen.add(after.key)
                    to_visit.append(after)
        views = self._actions.seen
        endings = frozenset(tuple(turn.state for turn in view.turns.values()) for view in views if view.ended)
        return Report(len(seen), transitions, len(views), self._actions.executed, endings)

    def _steps(self, state: State) -> Iterator[tuple[str, Step]]:
        left, right = state.workers
        alike = left.key == right.key == ()
        for worker in state.workers[: 1 if alike else 2]:
            for label, step in self._worker_steps(state, worker):
                yield f"{worker.name} {label}", partial(step, worker)
        yield from self._sweeper_steps(state)
        yield from self._client_steps(state)

    def _worker_steps(self, state: State, worker: Worker) -> Iterator[tuple[str, WorkerStep]]:
        actions, budget = self._actions, state.budget
        if worker.claim is None:
            for turn in state.view.turns:
                yield f"receives the hint of turn {turn}", partial(actions.deliver, turn)
            return
        if not worker.calling:
            yield "starts its call", actions.start_call
        else:
            yield "finishes", actions.succeed
            if budget.failures:
                yield "fails", partial(actions.end_without_image, FAILED, "failures")
            if budget.releases:
                yield "releases", actions.release
        if state.view.turns[turn_of(worker.claim.job.id)].cancel_requested:
            yield "gives up", partial(actions.end_without_image, GIVEN_UP, "")
        if budget.crashes:
            yield "crashes", actions.crash

    def _sweeper_steps(self, state: State) -> Iterator[tuple[str, Step]]:
        for lease, lapsed in state.view.leases.items():
            if lapsed:
                yield f"sweep of lease {lease}", partial(self._actions.sweep, job_id(turn_of(lease)), lease)
            elif state.budget.lapses:
                yield f"lapse of lease {lease}", partial(self._actions.lapse, lease)
        for turn in sorted(state.view.delayed):
            yield f"sweep of delayed turn {turn}", partial(self._actions.sweep, job_id(turn), "")
        for turn, entry in state.view.halted.items():
            yield f"sweep of halted turn {turn}", partial(self._actions.cancel_halted, entry)

    def _client_steps(self, state: State) -> Iterator[tuple[str, Step]]:
        for turn, record in state.view.turns.items():
            if state.budget.cancels and not record.over:
                yield f"cancel of turn {turn}", partial(self._actions.cancel, turn)
        if len(state.view.turns) < len(TURNS):
            yield f"submit of turn {len(TURNS)}", self._actions.submit_last
        if state.budget.ends and state.view.session["state"] == "active":
            yield "end of the session", self._actions.end_session


def _taken(state: State, label: str, step: Step) -> State:
    try:
        return replace(step(state), way=(state.way, label))
    except Violation as violation:
        steps = "\n  ".join([*state.steps(), label])
        raise Violation(f"{violation}; broken after:\n  {steps}") from violation
