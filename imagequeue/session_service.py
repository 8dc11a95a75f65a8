"""Edit sessions, as API, MCP bridge and command line use them: a part of the one door, ImageQueue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from imagequeue.errors import ImageNotFound, SessionNotFound
from imagequeue.jobs import JobState, NewJob
from imagequeue.requests import ContinueSessionRequest, StartSessionRequest, TurnRequest
from imagequeue.session_views import SessionPage, SessionSummary, SessionView, session_summary, session_view
from imagequeue.sessions import NewSession, Session, SessionSubmit, session_image
from imagequeue.settings import Settings
from imagequeue.sources import Sources
from imagequeue.store.jobs import JobStore
from imagequeue.store.limiter import LimiterStore
from imagequeue.store.sessions import SessionStore
from imagequeue.submission import Draft, Submission, Submitted, Terms

DEFAULT_FORMAT: Final = "png"


class SessionService:
    """Start, go on, look, end, fork. Every session belongs to an owner; to others it does not exist."""

    def __init__(
        self,
        settings: Settings,
        jobs: JobStore,
        sessions: SessionStore,
        limiter: LimiterStore,
        submission: Submission,
        sources: Sources,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._sessions = sessions
        self._limiter = limiter
        self._submission = submission
        self._sources = sources

    def start(self, request: StartSessionRequest, terms: Terms) -> Submitted:
        """Start a session with its first turn; the job carries the session's id.

        Raises:
            InvalidInput: an image cannot be used.
        """
        return self._submission.submit(terms, lambda: self._first_turn(request, terms))

    def add_turn(self, session_id: str, request: ContinueSessionRequest, terms: Terms) -> Submitted:
        """Add a turn; it runs when all turns before it have ended.

        Raises:
            SessionNotFound, SessionClosed, SessionFull: the session takes no turn.
        """
        return self._submission.submit(terms, lambda: self._next_turn(session_id, request, terms))

    def get(self, session_id: str, *, owner: str) -> SessionView:
        """The session with all its turns.

        Raises:
            SessionNotFound: there is none, or it belongs to somebody else.
        """
        return self._view(self._owned(session_id, owner))

    def turn_job_ids(self, session_id: str, *, owner: str) -> Sequence[str]:
        """The jobs of the session's turns, by number.

        Raises:
            SessionNotFound: there is none, or it belongs to somebody else.
        """
        return self._sessions.turn_job_ids(self._owned(session_id, owner).id)

    def list(self, *, cursor: str | None, limit: int, owner: str) -> SessionPage:
        """A page of the owner's sessions, newest first."""
        ids = self._sessions.list_ids(owner, cursor, limit + 1)
        summaries = [self._summary(self._sessions.get(session_id)) for session_id in ids[:limit]]
        return SessionPage(sessions=tuple(summaries), next_cursor=ids[limit - 1] if len(ids) > limit else None)

    def end(self, session_id: str, *, owner: str) -> SessionView:
        """End the session: turns that wait are cancelled, a running one finishes. Ending it again changes nothing."""
        session = self._sessions.end(self._owned(session_id, owner))
        for halted in self._jobs.halted():
            self._jobs.cancel_halted(halted)
        return self._view(session)

    def fork(self, session_id: str, turn: int | None, *, owner: str) -> SessionView:
        """A new session that goes on from a turn's image, by default from the current one.

        Raises:
            ImageNotFound: that turn has no image.
        """
        session = self._owned(session_id, owner)
        number = session.turn if turn is None else turn
        jobs = self._jobs.get_many(self._sessions.turn_job_ids(session_id))
        job = next((job for job in jobs if job.turn == number and job.state is JobState.SUCCEEDED), None)
        image = session_image(job) if job else (session.image if number == 0 else None)
        if image is None:
            raise ImageNotFound(f"Session {session_id} has no image of turn {number} to go on from.")
        new = NewSession(
            owner=owner,
            output_format=image.output_format,
            image=image,
            forked_from=f"{session_id}/{number}",
        )
        return self._view(self._sessions.fork(new))

    def _first_turn(self, request: StartSessionRequest, terms: Terms) -> Draft:
        turn = TurnRequest(**self._sources.resolve(request, terms.owner).model_dump())
        new = NewSession(owner=terms.owner, output_format=turn.output_format or DEFAULT_FORMAT)
        return self._new_job(turn, terms, new.id), SessionSubmit("start", fields=new.fields)

    def _next_turn(self, session_id: str, request: ContinueSessionRequest, terms: Terms) -> Draft:
        self._owned(session_id, terms.owner)
        joins = SessionSubmit("continue", self._settings.session_idle_ms, self._settings.max_waiting_turns)
        return self._new_job(TurnRequest(**request.model_dump()), terms, session_id), joins

    def _new_job(self, request: TurnRequest, terms: Terms, session_id: str) -> NewJob:
        return NewJob(
            request=request,
            owner=terms.owner,
            key_id=terms.key_id,
            idempotency=terms.idempotency,
            lane="interactive",
            model=self._settings.model,
            on_unknown_outcome=request.on_unknown_outcome or self._settings.on_unknown_outcome,
            session_id=session_id,
        )

    def _owned(self, session_id: str, owner: str) -> Session:
        session = self._sessions.get(session_id)
        if session.owner != owner:
            raise SessionNotFound(session_id)
        return session

    def _view(self, session: Session) -> SessionView:
        jobs = self._jobs.get_many(self._sessions.turn_job_ids(session.id))
        turns = [(job, self._jobs.position(job)) for job in jobs]
        return session_view(session, turns, self._limiter.state())

    def _summary(self, session: Session) -> SessionSummary:
        return session_summary(session, self._jobs.get_many(self._sessions.turn_job_ids(session.id)))
