"""A state of the turn-lock model: what Redis holds, what two workers know, and what may still go wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from turn_lock_view import View

from imagequeue.jobs import Claim

# The workers are named L and R, letters that no state holds otherwise: their mirror image has the same future.
_MIRROR: Final = str.maketrans("LR", "RL")


@dataclass(frozen=True, slots=True)
class Budget:
    """How often, on one way, what could happen again and again may still happen."""

    crashes: int = 0
    lapses: int = 0
    failures: int = 0
    releases: int = 0
    cancels: int = 0
    ends: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker knows. It keeps a claim that was taken from it until it is told."""

    name: str
    claim: Claim | None = None
    calling: bool = False
    edits: str = ""  # the image that it sent

    @property
    def held(self) -> Claim:
        """Its claim, which it has."""
        assert self.claim is not None
        return self.claim

    @property
    def idle(self) -> Worker:
        """Itself, knowing nothing."""
        return Worker(self.name)

    @property
    def key(self) -> tuple[object, ...]:
        """Its knowledge, comparable."""
        if self.claim is None:
            return ()
        return (self.claim.job.id, self.claim.attempt, self.claim.holder, self.calling, self.edits)


Way = tuple["Way", str] | None
"""The steps that led to a state, last first."""


@dataclass(frozen=True, slots=True)
class State:
    """One point of the exploration."""

    view: View
    workers: tuple[Worker, Worker]
    budget: Budget
    way: Way = None

    @property
    def key(self) -> str:
        """Equal for states with the same future."""
        left, right = self.workers
        plain = repr((self.view.key, left.key, right.key, self.budget))
        mirrored = repr((self.view.key, right.key, left.key, self.budget))
        return min(plain, mirrored.translate(_MIRROR))

    def after(self, view: View, worker: Worker | None = None, spent: str = "") -> State:
        """What follows when Redis holds `view`, `worker` knows what it says, and one of the budget is spent."""
        left, right = (worker if worker and worker.name == known.name else known for known in self.workers)
        budget = replace(self.budget, **{spent: getattr(self.budget, spent) - 1}) if spent else self.budget
        return State(view, (left, right), budget)

    def steps(self) -> list[str]:
        """What led here, first to last."""
        steps: list[str] = []
        way = self.way
        while way is not None:
            way, step = way
            steps.append(step)
        return steps[::-1]
