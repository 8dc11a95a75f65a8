"""The Celery tasks: what a message may ask of a worker."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from imagequeue.queue import ANNOUNCE, ANSWER_PROBE, DELIVER, RUN_JOB
from imagequeue.store.fleet import FleetStore
from worker.runner import Runner
from worker.slots import HintRequest
from worker.webhooks import Courier


def register_tasks(app: Celery, runner: Runner, courier: Courier, fleet: FleetStore) -> None:
    """Let the app run jobs, deliver webhooks and answer probes."""

    def answer_probe(nonce: str) -> None:
        fleet.answer_probe(nonce, runner.worker)

    tasks: dict[str, Callable[[str], None]] = {
        RUN_JOB: runner.run,
        ANNOUNCE: courier.announce,
        DELIVER: courier.deliver,
        ANSWER_PROBE: answer_probe,
    }
    for name, task in tasks.items():
        app.task(name=name, Request=HintRequest)(task)
