"""Reading edit sessions wherever their records are: in Redis, or, once they and all their turns are archived, in S3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from imagequeue.errors import SessionNotFound
from imagequeue.jobs import Frozen
from imagequeue.objects import ObjectStore
from imagequeue.record_objects import find_record, put_record
from imagequeue.sessions import Session, SessionState, is_session_id
from imagequeue.store.sessions import SessionStore


class ArchivedSession(Frozen):
    """What lies in S3. `turns`: the jobs of all turns by number."""

    version: Literal[1] = 1
    session: Session
    turns: tuple[str, ...]


class SessionRecords:
    """Sessions by id. Every method raises StoreUnavailable, or ObjectsUnavailable where a record is in S3."""

    def __init__(self, sessions: SessionStore, objects: ObjectStore) -> None:
        self._sessions = sessions
        self._objects = objects

    def get(self, session_id: str, owner: str) -> Session:
        """Read a session.

        Raises:
            SessionNotFound: there is none, or it belongs to somebody else.
        """
        session = self._find(session_id, owner) if is_session_id(session_id) else None
        if session is None or session.owner != owner:
            raise SessionNotFound(session_id)
        return session

    def turn_job_ids(self, session: Session) -> Sequence[str]:
        """The jobs of all turns, in the order of their numbers."""
        job_ids = self._sessions.turn_job_ids(session.id)
        if job_ids or session.state is SessionState.ACTIVE:
            return job_ids
        archived = self.archived(session.id)
        return archived.turns if archived else ()

    def archived(self, session_id: str) -> ArchivedSession | None:
        """The record in S3, whosever it is; None when there is none.

        Raises:
            ObjectsUnavailable: a newer version of imagequeue wrote it, too.
        """
        return find_record(self._objects, session_record_key(session_id), ArchivedSession, session_id)

    def write(self, session: Session, turns: Sequence[str]) -> None:
        """Put the record of a session that is over into S3, and read it back.

        Raises:
            ObjectsUnavailable: S3 does not answer, or gives something else back.
        """
        record = ArchivedSession(session=session, turns=tuple(turns))
        put_record(self._objects, session_record_key(session.id), record, session.id)

    def _find(self, session_id: str, owner: str) -> Session | None:
        try:
            return self._sessions.get(session_id)
        except SessionNotFound:
            archived = self.archived(session_id) if self._sessions.is_listed(owner, session_id) else None
            return archived.session if archived else None


def session_record_key(session_id: str) -> str:
    """Where the record is in S3."""
    return f"sessions/{session_id}/record.json"
