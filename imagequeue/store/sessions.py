"""Edit sessions in Redis. Their turns are jobs: store/jobs.py submits, claims and ends them."""

from __future__ import annotations

import json
from typing import cast

from imagequeue.errors import ImageNotFound, SessionNotFound
from imagequeue.sessions import NewSession, Session
from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import Scripts


class SessionStore:
    """The records of sessions. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def get(self, session_id: str) -> Session:
        """Read a session.

        Raises:
            SessionNotFound: there is none.
        """
        with translated():
            fields = self._client.hgetall(self._keys.session(session_id))
        if not fields:
            raise SessionNotFound(session_id)
        return session_from_hash(fields)

    def list_ids(self, owner: str, after: str | None, limit: int) -> list[str]:
        """Up to `limit` ids of an owner's sessions, newest first, older than the id `after`."""
        with translated():
            newest = f"({after}" if after else "+"
            return self._client.zrevrangebylex(self._keys.session_index(owner), newest, "-", 0, limit)

    def turn_job_ids(self, session_id: str) -> list[str]:
        """The jobs of all turns, in the order of their numbers."""
        with translated():
            return self._client.zrange(self._keys.history(session_id), 0, -1)

    def is_listed(self, owner: str, session_id: str) -> bool:
        """Whether the owner has this session, in Redis or archived."""
        with translated():
            return self._client.zscore(self._keys.session_index(owner), session_id) is not None

    def fork(self, new: NewSession) -> Session:
        """Store a session whose image is there from the start.

        Raises:
            ImageNotFound: the image is being deleted.
        """
        source = new.image.job_id if new.image else ""
        arguments = [new.id, f"{source}:{new.owner}", *(part for field in new.fields.items() for part in field)]
        keys = {
            **self._keys.for_session(new.id, new.owner),
            "pinned": self._keys.pinned(source),
            "leaving": self._keys.leaving,
        }
        if self._scripts.run("fork", keys, arguments) == "gone":
            raise ImageNotFound(f"Job {source} is being deleted.")
        return self.get(new.id)

    def end(self, session: Session) -> Session:
        """End a session: a running turn finishes, those that wait are halted. Ending it again changes nothing."""
        self._close(session.id, session.owner, "ended", 0)
        return self.get(session.id)

    def expire(self, session_id: str, idle_ms: int) -> None:
        """Let a session expire that was idle for `idle_ms`; one that was not stays."""
        self._close(session_id, "", "expired", idle_ms)

    def _close(self, session_id: str, owner: str, state: str, idle_ms: int) -> str:
        keys = self._keys.for_session(session_id, owner)
        return cast("str", self._scripts.run("close_session", keys, [session_id, state, idle_ms]))


def session_from_hash(fields: dict[str, str]) -> Session:
    """Read a session back."""
    data: dict[str, object] = dict(fields)
    if "image" in fields:
        data["image"] = json.loads(fields["image"])
    return Session.model_validate(data)
