"""What a seed stands for: a plan of faults, a load of jobs and the settings that they run under. Pure.

Times are seconds from the beginning of the load.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

WORKERS: Final = ("worker-1", "worker-2", "worker-3")
SERVERS: Final = ("redis", "s3", "sandbox", "api")
LEASE_SECONDS: Final = 2
OPENAI_TIMEOUT_SECONDS: Final = 8
"""Longer than most pauses of a worker: it then wakes with its answer there and its lease gone."""
LATENCY_SECONDS: Final = (0.1, 1.0)
"""How long a call takes, changed now and then: long enough for several to be in flight when something happens."""

PartAction = Literal["kill", "stop", "pause"]
LinkAction = Literal["cut", "drop", "silence", "slow", "reset"]
Action = PartAction | LinkAction | Literal["openai"]

OPENAI_FAULTS: Final[Mapping[str, Mapping[str, object]]] = {
    "429": {"status": 429, "code": "rate_limit_exceeded", "headers": {"retry-after": "1"}},
    "500": {"status": 500, "type": "server_error"},
    "hang": {"hang": True},
    "delay": {"delay": 3.0},  # longer than a lease
    "drop before": {"drop": "before"},
    "drop middle": {"drop": "middle"},
    "broken base64": {"body": "broken_base64"},
    "empty list": {"body": "empty_list"},
    "not an image": {"body": "not_an_image"},
    "moderation": {"status": 400, "code": "moderation_blocked", "type": "image_generation_user_error"},
}
"""What the sandbox is told to do to the next calls, by name."""
_TAKEOVER_CALLS: Final = 12


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault: what is done to which part, link or call, when, and for how long."""

    at: float
    action: Action
    target: str  # a part, a link, or a name of OPENAI_FAULTS
    seconds: float = 0.0  # how long it lasts
    strength: float = 0.0  # seconds that a slow link delays a chunk; how many calls an OpenAI fault hits

    @property
    def kind(self) -> str:
        """The row of the report that it belongs to: links and workers of one kind together."""
        target = "worker" if self.target in WORKERS else self.target
        for name in WORKERS:
            target = target.replace(f"{name}→", "worker→")
        return f"{self.action} {target}"


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job or session turn to submit. Its prompt is unique in the run."""

    prompt: str
    n: int = 1
    source: Literal["none", "upload", "job"] = "none"
    cancel_after: float | None = None  # seconds after it was accepted


@dataclass(frozen=True, slots=True)
class Errand:
    """What one client does in one go: a job, or a session with all its turns."""

    at: float
    kind: Literal["generate", "edit", "session"]
    jobs: tuple[PlannedJob, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a seed decides."""

    seed: int
    tough: bool  # every retry is allowed, so that no fault may end a job; else the product's default limits
    workers: tuple[str, ...]
    window_seconds: float
    faults: tuple[PlannedFault, ...]
    errands: tuple[Errand, ...]

    @property
    def jobs(self) -> int:
        """How many jobs the load has, turns included."""
        return sum(len(errand.jobs) for errand in self.errands)

    @property
    def settings(self) -> Mapping[str, str]:
        """Settings of the product's processes."""
        common = {
            "IMAGEQUEUE_LEASE_SECONDS": str(LEASE_SECONDS),
            "IMAGEQUEUE_WORKER_SLOTS": "12",
            "IMAGEQUEUE_API_PROCESSES": "1",
            "IMAGEQUEUE_API_THREADS": "32",
            "IMAGEQUEUE_OPENAI_TIMEOUT_SECONDS": str(OPENAI_TIMEOUT_SECONDS),
        }
        tough = {"IMAGEQUEUE_UNKNOWN_RETRIES": "50", "IMAGEQUEUE_MAX_WORKER_LOSSES": "50"}
        return common | (tough if self.tough else {})


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a run is."""

    jobs: int
    window_seconds: float
    faults: int
    workers: int


LONG: Final = Scale(jobs=300, window_seconds=18.0, faults=26, workers=3)
SHORT: Final = Scale(jobs=100, window_seconds=9.0, faults=14, workers=2)
TINY: Final = Scale(jobs=60, window_seconds=6.0, faults=8, workers=2)
"""For the test suite."""


def links_of(workers: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Every link as (name, the part that it leads to)."""
    ends = [(worker, end) for worker in workers for end in ("redis", "broker", "s3", "openai")]
    ends += [("api", "redis"), ("api", "broker"), ("api", "s3"), ("client", "api")]
    leads = {"broker": "redis", "openai": "sandbox"}
    return tuple((f"{start}→{end}", leads.get(end, end)) for start, end in ends)


def make_plan(seed: int, scale: Scale) -> Plan:
    """The plan of a seed; the same for the same arguments."""
    chance = random.Random(seed)
    workers = WORKERS[: scale.workers]
    return Plan(
        seed=seed,
        tough=chance.random() < 0.75,
        workers=workers,
        window_seconds=scale.window_seconds,
        faults=_faults(chance, scale, workers),
        errands=_errands(chance, scale),
    )


def _faults(chance: random.Random, scale: Scale, workers: tuple[str, ...]) -> tuple[PlannedFault, ...]:
    links = [name for name, _ in links_of(workers)]
    busy_until: dict[str, float] = {}
    planned: list[PlannedFault] = []
    times = sorted(chance.uniform(0.5, scale.window_seconds) for _ in range(scale.faults))
    for at in times:
        fault = chance.choices((_part_fault, _link_fault, _openai_fault), (35, 35, 30))[0](chance, at, workers, links)
        if busy_until.get(fault.target, 0.0) <= at:  # a target suffers one thing at a time
            busy_until[fault.target] = at + fault.seconds + (0 if fault.action == "openai" else 1.0)
            planned.append(fault)
            if fault.action == "pause" and fault.target in workers and fault.seconds > LEASE_SECONDS:
                planned.append(_delayed_takeover(fault))
    return tuple(sorted(planned, key=lambda fault: fault.at))


def _delayed_takeover(pause: PlannedFault) -> PlannedFault:
    """Make the calls slow by which others take over, so that the stale worker wakes while they run."""
    return PlannedFault(pause.at + LEASE_SECONDS - 0.5, "openai", "delay", strength=_TAKEOVER_CALLS)


def _part_fault(chance: random.Random, at: float, workers: tuple[str, ...], _links: list[str]) -> PlannedFault:
    target = chance.choices((chance.choice(workers), *SERVERS), (50, 15, 10, 10, 15))[0]
    action: PartAction = chance.choices(("kill", "stop", "pause"), (35, 20, 45) if target in workers else (1, 1, 1))[0]
    seconds = {
        "kill": chance.uniform(0.1, 2.0),
        "stop": chance.uniform(1.0, 4.0),
        "pause": chance.uniform(1.0, 4.0) + (LEASE_SECONDS if target in workers else 0),
    }[action]
    return PlannedFault(at, action, target, seconds)


def _link_fault(chance: random.Random, at: float, _workers: tuple[str, ...], links: list[str]) -> PlannedFault:
    action: LinkAction = chance.choice(("cut", "drop", "silence", "slow", "reset"))
    seconds = 0.0 if action == "reset" else chance.uniform(0.5, 6.0)
    return PlannedFault(at, action, chance.choice(links), seconds, chance.uniform(0.05, 0.3))


def _openai_fault(chance: random.Random, at: float, _workers: tuple[str, ...], _links: list[str]) -> PlannedFault:
    name = chance.choice(tuple(OPENAI_FAULTS))
    return PlannedFault(at, "openai", name, strength=chance.randint(1, 4))


def _errands(chance: random.Random, scale: Scale) -> tuple[Errand, ...]:
    errands: list[Errand] = []
    planned = 0
    while planned < scale.jobs:
        kind: Literal["generate", "edit", "session"] = chance.choices(("generate", "edit", "session"), (62, 23, 15))[0]
        count = min(chance.randint(3, 6), scale.jobs - planned) if kind == "session" else 1
        jobs = tuple(_job(chance, kind, f"picture {planned + index} of the run") for index in range(count))
        errands.append(Errand(chance.uniform(0.0, scale.window_seconds * 0.9), kind, jobs))
        planned += count
    return tuple(sorted(errands, key=lambda errand: errand.at))


def _job(chance: random.Random, kind: Literal["generate", "edit", "session"], prompt: str) -> PlannedJob:
    cancel_after = chance.choice((0.0, chance.uniform(0.1, 2.0))) if chance.random() < 0.08 else None
    source: Literal["none", "upload", "job"] = "none"
    if kind == "edit":
        source = chance.choice(("upload", "job"))
    return PlannedJob(
        prompt=prompt,
        n=1 if kind == "session" else chance.choices((1, 2, 3), (80, 14, 6))[0],
        source=source,
        cancel_after=cancel_after,
    )
