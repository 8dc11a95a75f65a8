"""One run: a stack, a load, a plan of faults, the healing, and the evidence."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Final, cast

from chaos_load import Load, all_jobs
from chaos_stack import ChaosStack
from evidence import Evidence, JournalCall, Record, Submission, read_journal, record_of
from invariants import Violation, check
from ledger import Ledger
from redis import RedisError
from retention_kit import figures_of
from sandbox_door import SandboxDoor
from scenario import LATENCY_SECONDS, OPENAI_FAULTS, Plan, PlannedFault

from imagequeue.client import ApiProblem, ApiUnreachable, Client
from imagequeue.errors import ImageNotFound
from imagequeue.jobs import LANES, JobState
from imagequeue.objects import ObjectStore
from imagequeue.service import LOCAL_OWNER
from imagequeue.settings import Settings
from sandbox.stack.processes import wait_until
from sandbox.stack.s3_server import BUCKET, s3_endpoint
from sandbox.stack.state import load_remembered

SETTLE_SECONDS: Final = 60.0
"""After the last fault: reconnecting takes Celery up to a quarter of this, a lease 3 s, a retry of busy calls 5 s."""
CLEARED_SECONDS: Final = 5.0
"""After the last job's end: an outbox entry waits 2 s for the next sweep, a lease 3 s until it lapses."""
_TICK_SECONDS: Final = 0.05
_TICKS_PER_LESSON: Final = 40
_LATENCY_CHANGES_PER_TICK: Final = 0.1
_ENDINGS: Final = frozenset(state.value for state in JobState if state.terminal)

Show = Callable[[str, int, int, int], None]
"""Told what goes on: the phase, faults injected, jobs accepted, jobs ended."""


@dataclass(frozen=True)
class Injection:
    """A fault that took place, and the jobs that ran then."""

    fault: PlannedFault
    running: frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """What a run showed."""

    plan: Plan
    evidence: Evidence
    violations: tuple[Violation, ...]
    injections: tuple[Injection, ...]
    deaths: Mapping[str, int]  # parts that ended though nobody told them to
    load_seconds: float
    settle_seconds: float


@dataclass
class _Sight:
    """The jobs that run now, as Redis itself has it; what was last seen while it is away."""

    running: frozenset[str] = field(default_factory=frozenset[str])
    ended: int = 0


def run(plan: Plan, folder: Path, show: Show) -> Outcome:
    """Carry out a plan in an empty folder; everything is ended when it returns.

    Raises:
        TimeoutError: a part does not start. What does not come to its end otherwise is a violation.
    """
    ledger = Ledger()
    with ChaosStack(folder, plan) as stack, closing(SandboxDoor(stack.sandbox_url)) as sandbox:
        load = Load(plan, stack.api_url, folder, ledger)
        began = time.monotonic()
        load.start()
        try:
            injections = _Storm(stack, sandbox, ledger, show, random.Random(plan.seed)).rage(load)
            load_seconds = time.monotonic() - began
            settled = _settle(stack, sandbox, ledger, show, len(injections))
        finally:
            load.close()
        evidence = _gather(stack, ledger, plan)
        deaths = {name: part.deaths for name, part in stack.parts.items() if part.deaths}
    violations = [*_complaints(ledger), *check(evidence)]
    return Outcome(plan, evidence, tuple(violations), injections, deaths, load_seconds, settled)


class _Storm:
    """Injects the faults of a plan, each at its time, while the load runs."""

    def __init__(
        self, stack: ChaosStack, sandbox: SandboxDoor, ledger: Ledger, show: Show, chance: random.Random
    ) -> None:
        self._stack = stack
        self._sandbox = sandbox
        self._ledger = ledger
        self._show = show
        self._chance = chance
        self._sight = _Sight()
        self._injections: list[Injection] = []
        self._ends: list[tuple[float, int, PlannedFault]] = []

    def rage(self, load: Load) -> tuple[Injection, ...]:
        """Return when all faults are over and the load is done."""
        began, numbers, ticks = time.monotonic(), count(), count()
        waiting = list(reversed(self._stack.plan.faults))
        pause = threading.Event()
        while waiting or self._ends or not load.done:
            now = time.monotonic() - began
            while self._ends and self._ends[0][0] <= now:
                self._stack.end(heappop(self._ends)[2])
            while waiting and waiting[-1].at <= now:
                fault = waiting.pop()
                self._inject(fault)
                heappush(self._ends, (now + fault.seconds, next(numbers), fault))
            self._stack.tick()
            _look(self._stack, self._sight)
            if next(ticks) % _TICKS_PER_LESSON == 0:
                _forget_lesson(self._stack)
            if self._chance.random() < _LATENCY_CHANGES_PER_TICK:
                self._sandbox.set_latency(self._chance.uniform(*LATENCY_SECONDS))
            accepted = sum(sent.job_id is not None for sent in self._ledger.submissions)
            self._show("storm", len(self._injections), accepted, self._sight.ended)
            pause.wait(_TICK_SECONDS)
        return tuple(self._injections)

    def _inject(self, fault: PlannedFault) -> None:
        if fault.action == "openai":
            self._sandbox.add_fault(OPENAI_FAULTS[fault.target], round(fault.strength))
        else:
            self._stack.begin(fault)
        self._injections.append(Injection(fault, self._sight.running))


def _look(stack: ChaosStack, sight: _Sight) -> None:
    """Ask Redis itself what runs; keeps the last answer while Redis is away."""
    if stack.parts["redis"].held_down or stack.parts["redis"].starting:
        return
    try:
        sight.running = frozenset(
            cast("list[str]", stack.redis.zrange(stack.keys.index(LOCAL_OWNER, JobState.RUNNING), 0, -1))
        )
        sight.ended = sum(
            int(stack.redis.zcard(stack.keys.index(LOCAL_OWNER, state))) for state in JobState if state.terminal
        )
    except RedisError:
        return


def _forget_lesson(stack: ChaosStack) -> None:
    """Let the fleet call as fast as before a 429: for minutes it would go slowly, and little would be left to hurt."""
    with suppress(RedisError):
        stack.redis.hdel(stack.keys.limiter, "learned", "learned_at", "learned_cap")


def _settle(stack: ChaosStack, sandbox: SandboxDoor, ledger: Ledger, show: Show, injected: int) -> float:
    """Heal everything and wait until no job waits or runs; gives the seconds that it took, at most SETTLE_SECONDS."""
    stack.proxy.heal()
    stack.wait_healthy()
    sandbox.clear_faults()
    sandbox.set_latency(LATENCY_SECONDS[0])
    _forget_lesson(stack)
    began, sight, pause = time.monotonic(), _Sight(), threading.Event()
    states = [stack.keys.index(LOCAL_OWNER, state) for state in JobState if not state.terminal]
    while time.monotonic() - began < SETTLE_SECONDS:
        stack.tick()
        _look(stack, sight)
        show("settling", injected, sum(sent.job_id is not None for sent in ledger.submissions), sight.ended)
        if not any(int(stack.redis.zcard(key)) for key in states):
            break
        pause.wait(_TICK_SECONDS)
    return time.monotonic() - began


def _gather(stack: ChaosStack, ledger: Ledger, plan: Plan) -> Evidence:
    """Ask all witnesses. Everything is healed, so whoever does not answer fails the run."""
    with Client(stack.direct_api_url) as client:
        first = all_jobs(client)
        stored = _stored(stack, [image.key for view in first for image in view.images])
        last = all_jobs(client)
        usage = client.usage().total
        records = {view.id: record_of(view) for view in last}
        unlisted = _accepted_but_unlisted(client, ledger.submissions, records)
    seen = {view.id: view for view in first if view.state.terminal} | dict(ledger.seen)
    return Evidence(
        tough=plan.tough,
        submissions=ledger.submissions,
        records=records | unlisted,
        calls=read_journal(stack.journal_file),
        stored=stored,
        endings={job_id: _endings(stack, job_id) for job_id in records | unlisted},
        seen={job_id: view.model_dump_json() for job_id, view in seen.items()},
        unlisted=frozenset(unlisted),
        leftovers=_leftovers(stack),
        cancels=ledger.cancels,
        usage_told=usage.model_dump_json(),
        usage_summed=figures_of(last).model_dump_json(),
    )


def _accepted_but_unlisted(
    client: Client, submissions: Sequence[Submission], records: Mapping[str, Record]
) -> dict[str, Record]:
    """Jobs that can be read although no list shows them."""
    found: dict[str, Record] = {}
    for sent in submissions:
        if sent.job_id and sent.job_id not in records:
            try:
                found[sent.job_id] = record_of(client.get(sent.job_id))
            except (ApiProblem, ApiUnreachable):
                continue
    return found


def _endings(stack: ChaosStack, job_id: str) -> tuple[str, ...]:
    entries = cast("list[tuple[str, dict[str, str]]]", stack.redis.xrange(stack.keys.events(job_id)))
    return tuple(entry["event"] for _, entry in entries if entry["event"] in _ENDINGS)


def _leftovers(stack: ChaosStack) -> dict[str, int]:
    """Entries in the queues; given a moment, because the last ones go a little after the last job's end."""
    keys = stack.keys
    queues = (keys.leases, keys.outbox, keys.delayed, keys.halted, *(keys.waiting(lane) for lane in LANES))
    counts: dict[str, int] = {}

    def empty() -> bool:
        counts.update({key: int(stack.redis.zcard(key)) for key in queues})
        return not any(counts.values())

    wait_until(empty, CLEARED_SECONDS)
    return counts


def _stored(stack: ChaosStack, keys: Sequence[str]) -> dict[str, str | None]:
    """The sha256 of each object as S3 itself gives it; None for one that is not there."""
    own = load_remembered(stack.folder)
    joined = {"s3_endpoint": s3_endpoint(stack.ports["s3"]), "s3_bucket": BUCKET}
    keys_of_s3 = {"AWS_ACCESS_KEY_ID": own.s3_access_key, "AWS_SECRET_ACCESS_KEY": own.s3_secret_key}
    settings = Settings.model_validate(joined | keys_of_s3)
    objects = ObjectStore(settings)

    def digest(key: str) -> str | None:
        try:
            return hashlib.sha256(objects.get_bytes(key)).hexdigest()
        except ImageNotFound:
            return None

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(keys, pool.map(digest, keys), strict=True))


def _complaints(ledger: Ledger) -> list[Violation]:
    return [Violation("the API answers right requests", "", text) for text in ledger.complaints]


def calls_by_fault(calls: Sequence[JournalCall]) -> Mapping[str, list[JournalCall]]:
    """The calls that met an OpenAI fault, by its name in the plan."""
    names = {"400": "moderation"}
    found: dict[str, list[JournalCall]] = {}
    for call in calls:
        if call.fault is not None:
            found.setdefault(names.get(call.fault, call.fault.replace("_", " ")), []).append(call)
    return found
