"""The Celery tasks: what a message may ask of a worker."""

from __future__ import annotations

from celery import Celery

from imagequeue.queue import ANSWER_PROBE, RUN_JOB
from imagequeue.store.fleet import FleetStore
from worker.runner import Runner


def register_tasks(app: Celery, runner: Runner, fleet: FleetStore) -> None:
    """Let the app run jobs and answer probes."""

    def answer_probe(nonce: str) -> None:
        fleet.answer_probe(nonce, runner.worker)

    app.task(name=RUN_JOB)(runner.run)
    app.task(name=ANSWER_PROBE)(answer_probe)
