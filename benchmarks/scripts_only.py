"""Celery, and the scripts that a durable job takes: the floor below `overhead`. A worker as a program, and a submitter.

Their arguments are made once. No record is read, nothing is called, spooled, stored or waited for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

from celery import Celery
from sample_image import sample_image

from imagequeue.jobs import AttemptOutcome, JobState, NewJob, Result
from imagequeue.queue import QUEUES, RUN_JOB, make_celery
from imagequeue.requests import GenerateRequest
from imagequeue.settings import Settings, load_settings
from imagequeue.store.connection import RedisClient, connect
from imagequeue.store.job_codec import new_job_fields, result_fields
from imagequeue.store.jobs import IDEMPOTENCY_MS, flat
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import Scripts
from worker.slots import HintRequest, SlotPool

LEASE_MS: Final = 600_000
_OWNER: Final = "local"
_LANE: Final = "interactive"
_PATCH: Final = '{"outcome":"succeeded","request_id":"req_null","cost_usd_estimated":0.006}'


@dataclass(frozen=True, slots=True)
class ScriptsOnly:
    """Both ends of a job's way, on one Redis."""

    settings: Settings
    client: RedisClient
    keys: Keys
    scripts: Scripts
    app: Celery
    fields: list[str]

    @classmethod
    def of(cls, settings: Settings) -> ScriptsOnly:
        """Open the connections."""
        client = connect(settings.redis_url)
        fields = flat(new_job_fields(_new()))
        return cls(settings, client, Keys(settings.key_prefix), Scripts(client), make_celery(settings), fields)

    def submit(self) -> None:
        """A job, its hint, and the note that the hint was sent."""
        job_id = _new().id
        keys = {**self._keys_of(job_id), "idempotency": self.keys.idempotency(_OWNER, "none")}
        arguments = [job_id, "", "", 0, 0, 0, "", IDEMPOTENCY_MS, "", 1, *self.fields]
        self.scripts.run("submit", keys, arguments)
        self.app.send_task(RUN_JOB, args=[job_id], queue=_LANE, retry=False, ignore_result=True)
        self.client.zrem(self.keys.outbox, job_id)

    def run(self, job_id: str, worker: str, written: list[str]) -> None:
        """What a worker tells the records of a job."""
        holder = f"{worker}/{job_id}"
        keys = {
            **self._keys_of(job_id),
            "suspect": self.keys.suspect(worker),
            "index_final": self.keys.index(_OWNER, JobState.SUCCEEDED),
        }
        claim = [job_id, worker, holder, LEASE_MS, _LANE, 2, *self.settings.rate_limits.arguments]
        self.scripts.run("claim", keys, claim)
        self.scripts.run("start_call", keys, [1, holder, "direct"])
        self.scripts.run("answered", keys, [1, holder, "gpt-image-2:low:usual", 20])
        self.scripts.run("finish", keys, [job_id, 1, holder, "succeeded", _PATCH, "", "", "reuse", *written])

    def ended(self) -> int:
        """How many jobs have ended."""
        return self.client.zcard(self.keys.index(_OWNER, JobState.SUCCEEDED))

    def _keys_of(self, job_id: str) -> dict[str, str]:
        return dict(self.keys.for_job(job_id, _OWNER, _LANE, None, None, None))


def _new() -> NewJob:
    request = GenerateRequest(prompt="overhead")
    return NewJob(request=request, owner=_OWNER, lane=_LANE, model="gpt-image-2", on_unknown_outcome="retry")


def main() -> None:
    """Run a worker until SIGTERM."""
    settings = load_settings()
    ends, name = ScriptsOnly.of(settings), f"floor-{os.getpid()}"
    result = Result(
        state=JobState.SUCCEEDED,
        outcome=AttemptOutcome.SUCCEEDED,
        images=(sample_image("job", "images/job/1"),),
        cost_usd_estimated=0.006,
    )
    written = flat(result_fields(result))

    def run_job(job_id: str) -> None:
        ends.run(job_id, name, written)

    app: Any = ends.app
    app.task(name=RUN_JOB, Request=HintRequest)(run_job)
    app.Worker(
        hostname=f"{name}@imagequeue",
        pool=SlotPool,
        concurrency=settings.worker_slots,
        queues=QUEUES,
        loglevel="ERROR",
        without_mingle=True,
        without_gossip=True,
    ).start()


if __name__ == "__main__":
    main()
