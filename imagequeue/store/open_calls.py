"""The calls whose answers are still awaited over one connection, so that a call sent again finds its job.

OpenAI's wire format has no job ids: who waits on a connection that breaks can only send the same call again. Calls
that were answered are not in here; deliberate equal calls each have an entry of their own.
"""

from __future__ import annotations

from typing import Final, Literal, cast

from imagequeue.jobs import Job, NewJob
from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.deliveries import KEPT_MS, call_fingerprint
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import Scripts

LEASE_MS: Final = 30_000
"""How long a waiter may be silent before its call counts as left."""


class OpenCallStore:
    """The records of open calls, by owner and request. Every method raises StoreUnavailable without Redis."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def begin(self, new: NewJob, token: str) -> None:
        """Note a new call, before its job is stored; `token` is of whoever waits for the answer."""
        self._attend(new, new.id, token, LEASE_MS, "new")

    def renew(self, job: Job, token: str) -> bool:
        """Note that the answer is still waited for; whether the call is still theirs who have the token."""
        return self._attend(job, job.id, token, LEASE_MS, "known") == "attended"

    def leave(self, job: Job, token: str) -> None:
        """Note that nobody waits any more; the call stays open."""
        self._attend(job, job.id, token, 0, "known")

    def take(self, new: NewJob, token: str, which: Literal["left", "any"]) -> str:
        """The job of an equal call: one that nobody waits for, or any.

        Returns:
            The job's id; `attended` when somebody waits for each of them, `none` when there is none.
        """
        return cast("str", self._scripts.run("take_call", {"open_calls": self._key(new)}, [token, LEASE_MS, which]))

    def end(self, job: Job | NewJob, job_id: str) -> None:
        """Forget a call: its answer was sent, or its job was refused."""
        with translated():
            self._client.hdel(self._key(job), job_id)

    def _attend(self, job: Job | NewJob, job_id: str, token: str, lease_ms: int, mode: str) -> str:
        arguments = [job_id, token, lease_ms, KEPT_MS, mode]
        return cast("str", self._scripts.run("attend_call", {"open_calls": self._key(job)}, arguments))

    def _key(self, job: Job | NewJob) -> str:
        return self._keys.open_calls(job.owner, call_fingerprint(job))
