"""Deleting jobs and sessions, as Redis sees it: what is being deleted, what needs it, and the end of its records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal, cast

from imagequeue.jobs import Job
from imagequeue.sessions import Session, SessionState
from imagequeue.store.archive import ArchiveEntry, Bucket, archive_keys, hour_of, leaving_member
from imagequeue.store.connection import RedisClient, now_ms, translated
from imagequeue.store.keys import Keys
from imagequeue.store.reuse import reuse_field
from imagequeue.store.scripts import Scripts

TAKEOVER_MS: Final = 60_000
"""Who deletes and is not done by then has died: retention goes on with it."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """A job that is being deleted."""

    job_id: str
    owner: str

    @property
    def member(self) -> str:
        """Its name in the set."""
        return leaving_member(self.job_id, self.owner)


class RemovalStore:
    """Deletes records. Every method raises StoreUnavailable when Redis does not answer, and may be repeated."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def leave(self, job: Job) -> Literal["leaving", "unfinished"]:
        """Mark a job whose removal begins: no session is forked from it any more, and its archived record is hidden."""
        keys = {"job": self._keys.job(job.id), "leaving": self._keys.leaving}
        answer = self._scripts.run("leave", keys, [leaving_member(job.id, job.owner), TAKEOVER_MS])
        return cast("Literal['leaving', 'unfinished']", answer)

    def stay(self, job: Job) -> None:
        """Take the mark back."""
        self.left(Leaving(job.id, job.owner))

    def left(self, job: Leaving, look_again_at: int = 0) -> None:
        """End a removal; the mark stays until a last look when that is due later than now (ms)."""
        over = look_again_at <= now_ms(self._client)
        with translated():
            if over:
                self._client.zrem(self._keys.leaving, job.member)
            else:
                self._client.zadd(self._keys.leaving, {job.member: look_again_at})

    def leaving(self, before: int, limit: int) -> list[Leaving]:
        """Removals that somebody has to go on with, by the time `before` (ms)."""
        with translated():
            members = self._client.zrangebyscore(self._keys.leaving, "-inf", str(before), 0, limit)
        return [Leaving(*member.split(":", 1)) for member in members]

    def needed_by(self, job: Job) -> list[str]:
        """The active sessions whose next turn edits the job's image."""
        with translated():
            sessions = self._client.smembers(self._keys.pinned(job.id))
        if job.session_id:
            sessions.add(job.session_id)
        return [session_id for session_id in sorted(sessions) if self._edits_next(session_id, job.id)]

    def remove(self, job: Job) -> None:
        """Take away the record of a job, archived or not, and its places in lists."""
        entry = ArchiveEntry.of(job)
        arguments = [job.id, entry.text, entry.hour, Bucket(job.owner, entry.hour).member, reuse_field(job)]
        self._scripts.run("remove", archive_keys(self._keys, job), arguments)

    def remove_entry(self, owner: str, entry: ArchiveEntry) -> None:
        """Take an archived job out of the lists whose record in S3 is gone."""
        keys = {
            **self._keys.for_job(entry.job_id, owner, "interactive", None, None, None),
            **self._keys.for_archive(owner, hour_of(entry.job_id)),
            "index_final": self._keys.index(owner, entry.state),
            "delivery": self._keys.delivery(owner, "none"),
        }
        arguments = [entry.job_id, entry.text, entry.hour, Bucket(owner, entry.hour).member, ""]
        self._scripts.run("remove", keys, arguments)

    def archive_session(self, session: Session, look_again_at: int) -> Literal["archived", "active"]:
        """Let a closed session leave Redis; its record must be in S3. It is looked at again at a time (ms)."""
        keys = self._keys.for_session(session.id, session.owner)
        answer = self._scripts.run("archive_session", keys, [session.id, look_again_at])
        return cast("Literal['archived', 'active']", answer)

    def remove_session(self, session: Session) -> Literal["removed", "active"]:
        """Take away a closed session's record and its place in lists, all but that among the closed ones."""
        keys = self._keys.for_session(session.id, session.owner)
        return cast("Literal['removed', 'active']", self._scripts.run("remove_session", keys, [session.id]))

    def closed_sessions(self, before: int, limit: int) -> list[str]:
        """Sessions that are over and to be looked at by the time `before` (ms)."""
        with translated():
            return self._client.zrangebyscore(self._keys.sessions_closed, "-inf", str(before), 0, limit)

    def look_at_session(self, session_id: str, at: int | None) -> None:
        """Look at a closed session again at a time (ms); None: never."""
        with translated():
            if at is None:
                self._client.zrem(self._keys.sessions_closed, session_id)
            else:
                self._client.zadd(self._keys.sessions_closed, {session_id: at})

    def _edits_next(self, session_id: str, job_id: str) -> bool:
        with translated():
            state, image = self._client.hmget(self._keys.session(session_id), ["state", "image"])
        return state == SessionState.ACTIVE and image is not None and json.loads(image)["job_id"] == job_id
