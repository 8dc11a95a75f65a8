"""Twenty sessions of ten turns, three workers, one of them killed every second: order, bytes and bills stay right."""

from __future__ import annotations

import random
import threading
from collections import Counter

from fleet_kit import Fleet
from session_kit import add_turn, chained, start_session

from imagequeue.jobs import AttemptOutcome, Job
from imagequeue.service import LOCAL_OWNER
from imagequeue.session_views import SessionView

SESSIONS, TURNS, WORKERS = 20, 10, 3
SEED = random.SystemRandom().randrange(10**6)
LEASE = {"IMAGEQUEUE_LEASE_SECONDS": "5"}
TOUGH = {"IMAGEQUEUE_UNKNOWN_RETRIES": "50", "IMAGEQUEUE_MAX_WORKER_LOSSES": "50"}
"""The kills are no fault of the jobs: none may be given up."""


def test_sessions_stay_in_order_while_workers_are_killed(fleet: Fleet) -> None:
    chance = random.Random(SEED)
    print(f"\nseed {SEED}")
    fleet.sandbox.set_latency(0.2)
    for _ in range(WORKERS):
        fleet.start_worker(**LEASE, **TOUGH)
    firsts = [start_session(fleet, f"chaos {number} turn 1") for number in range(SESSIONS)]
    sessions = [
        [first, *(add_turn(fleet, first, f"chaos {number} turn {turn}") for turn in range(2, TURNS + 1))]
        for number, first in enumerate(firsts)
    ]
    kills = 0
    pause = threading.Event()
    while any(view_of(fleet, turns[0].session_id).turns_waiting for turns in sessions):
        pause.wait(1)
        fleet.kill(chance.choice(fleet.workers))
        fleet.start_worker(**LEASE, **TOUGH)
        kills += 1
        assert kills < 150, "the sessions do not come to their end"
    ended = [[fleet.queue.get(job.id) for job in turns] for turns in sessions]
    for turns in ended:
        assert [job.turn for job in turns] == list(range(1, TURNS + 1))
        assert chained(turns), [(job.turn, job.state, job.error, job.attempts) for job in turns]
    check_bills(fleet, [job for turns in ended for job in turns], kills)


def view_of(fleet: Fleet, session_id: str | None) -> SessionView:
    """The session as its clients see it."""
    return fleet.queue.sessions.get(session_id or "", owner=LOCAL_OWNER)


def check_bills(fleet: Fleet, jobs: list[Job], kills: int) -> None:
    """Every call beyond one per turn is an attempt of unknown outcome, and no turn succeeded twice."""
    calls = Counter(call["prompt"] for call in fleet.sandbox.calls() if str(call["prompt"]).startswith("chaos "))
    outcomes = Counter(attempt.outcome for job in jobs for attempt in job.attempts)
    for job in jobs:
        unknown = sum(attempt.outcome is AttemptOutcome.UNKNOWN for attempt in job.attempts)
        done = sum(attempt.outcome is AttemptOutcome.SUCCEEDED for attempt in job.attempts)
        assert done == 1
        assert 1 <= calls[job.request.prompt] <= 1 + unknown, (
            job.request.prompt,
            calls[job.request.prompt],
            job.attempts,
        )
    beyond = sum(calls.values()) - len(jobs)
    print(
        f"{len(jobs)} turns in order; {kills} workers killed; {sum(calls.values())} calls seen, {beyond} beyond "
        f"{len(jobs)}; attempts unknown {outcomes[AttemptOutcome.UNKNOWN]}, lost {outcomes[AttemptOutcome.LOST]}"
    )
