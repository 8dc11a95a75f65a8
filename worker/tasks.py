"""The Celery tasks: what a message may ask of a worker."""

from __future__ import annotations

from celery import Celery

from imagequeue.queue import ANNOUNCE, ANSWER_PROBE, DELIVER, RUN_JOB
from imagequeue.store.fleet import FleetStore
from worker.runner import Runner
from worker.webhooks import Courier


def register_tasks(app: Celery, runner: Runner, courier: Courier, fleet: FleetStore) -> None:
    """Let the app run jobs, deliver webhooks and answer probes."""

    def answer_probe(nonce: str) -> None:
        fleet.answer_probe(nonce, runner.worker)

    app.task(name=RUN_JOB)(runner.run)
    app.task(name=ANNOUNCE)(courier.announce)
    app.task(name=DELIVER)(courier.deliver)
    app.task(name=ANSWER_PROBE)(answer_probe)
