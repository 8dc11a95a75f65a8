"""Which job an unanswered call belongs to, so that the same call made again gets that job and not a second one.

The record is there from before the job is stored until its result has been handed over. Whoever finds it submits under
the id in it: a job is stored once for an id, so a crash between the two steps buys nothing twice.
"""

from __future__ import annotations

import hashlib
from typing import Final

from imagequeue.jobs import Job, NewJob
from imagequeue.requests import TurnRequest
from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import Scripts

KEPT_MS: Final = 24 * 3_600_000
"""How long a result that nobody fetched is offered to the same call: as long as an idle session lives by default."""


class DeliveryStore:
    """The records of calls whose results are not handed over. Every method raises StoreUnavailable without Redis."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def claim(self, new: NewJob) -> str:
        """The id to submit `new` under: its own, or that of the same call's job that was never handed over."""
        key = self._key(new)
        while True:
            with translated():
                if self._client.set(key, new.id, nx=True, px=KEPT_MS):
                    return new.id
                taken = self._client.get(key)
            if taken:
                return taken

    def handed_over(self, job: Job | NewJob, job_id: str) -> None:
        """Forget the call of `job`, if its record still names `job_id`."""
        self._scripts.run("handed_over", {"delivery": self._key(job)}, [job_id])

    def _key(self, job: Job | NewJob) -> str:
        return self._keys.delivery(job.owner, call_fingerprint(job))


def call_fingerprint(job: Job | NewJob) -> str:
    """The same for equal calls: the request's fingerprint and, for a turn of a session that was there, the session."""
    continues = isinstance(job.request, TurnRequest) and not job.request.images
    if not continues:
        return job.fingerprint
    return hashlib.sha256(f"{job.fingerprint}:{job.session_id}".encode()).hexdigest()
