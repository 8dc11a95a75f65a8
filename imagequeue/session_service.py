"""Edit sessions, as API, MCP bridge and command line use them: a part of the one door, ImageQueue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from imagequeue.errors import ImageNotFound, JobNotFound, SessionClosed, SessionNotFound
from imagequeue.job_records import JobRecords
from imagequeue.jobs import JobState, NewJob
from imagequeue.removal import Removal
from imagequeue.requests import ContinueSessionRequest, StartSessionRequest, TurnRequest
from imagequeue.session_records import SessionRecords
from imagequeue.session_views import SessionPage, SessionSummary, SessionView, session_summary, session_view
from imagequeue.sessions import NewSession, Session, SessionState, SessionSubmit, session_image
from imagequeue.settings import Settings
from imagequeue.sources import Sources
from imagequeue.store.jobs import JobStore
from imagequeue.store.limiter import LimiterStore
from imagequeue.store.sessions import SessionStore
from imagequeue.submission import Draft, Submission, Submitted, Terms
from imagequeue.webhook_service import WebhookService

DEFAULT_FORMAT: Final = "png"


class SessionService:
    """Start, go on, look, end, fork. Every session belongs to an owner; to others it does not exist."""

    def __init__(
        self,
        settings: Settings,
        jobs: JobStore,
        job_records: JobRecords,
        sessions: SessionStore,
        records: SessionRecords,
        limiter: LimiterStore,
        submission: Submission,
        sources: Sources,
        removal: Removal,
        webhooks: WebhookService,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._job_records = job_records
        self._sessions = sessions
        self._records = records
        self._limiter = limiter
        self._submission = submission
        self._sources = sources
        self._removal = removal
        self._webhooks = webhooks

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
        return self._records.turn_job_ids(self._owned(session_id, owner))

    def list(self, *, cursor: str | None, limit: int, owner: str) -> SessionPage:
        """A page of the owner's sessions, newest first."""
        ids = self._sessions.list_ids(owner, cursor, limit + 1)
        summaries = [summary for session_id in ids[:limit] for summary in self._summaries(session_id, owner)]
        return SessionPage(sessions=tuple(summaries), next_cursor=ids[limit - 1] if len(ids) > limit else None)

    def end(self, session_id: str, *, owner: str) -> SessionView:
        """End the session: turns that wait are cancelled, a running one finishes. Ending it again changes nothing."""
        session = self._owned(session_id, owner)
        if session.state is SessionState.ACTIVE:
            session = self._sessions.end(session)
        for halted in self._jobs.halted():
            self._jobs.cancel_halted(halted)
        return self._view(session)

    def delete(self, session_id: str, *, owner: str) -> None:
        """Delete a session that is over, with all its turns and their images.

        Raises:
            SessionNotFound: there is none, or it belongs to somebody else.
            SessionActive, JobRunning: it is not over, or a turn still runs.
            ImageInUse: a session that was forked from it goes on from an image of it.
        """
        self._removal.remove_session(self._owned(session_id, owner))

    def fork(self, session_id: str, turn: int | None, *, owner: str) -> SessionView:
        """A new session that goes on from a turn's image, by default from the current one.

        Raises:
            ImageNotFound: that turn has no image.
        """
        session = self._owned(session_id, owner)
        number = session.turn if turn is None else turn
        jobs = self._job_records.get_many(self._records.turn_job_ids(session))
        job = next((job for job in jobs if job.turn == number and job.state is JobState.SUCCEEDED), None)
        image = session_image(job) if job else (session.image if number == 0 else None)
        if image is None:
            raise ImageNotFound(f"Session {session_id} has no image of turn {number} to go on from.")
        new = NewSession(
            owner=owner,
            output_format=image.output_format,
            image=image,
            forked_from=f"{session_id}/{number}",
            retention_ms=self._settings.retention_ms,
        )
        forked = self._sessions.fork(new)
        try:
            self._job_records.get(image.job_id, owner)
        except JobNotFound:  # it was deleted just before the new session said that it needs the image
            self._sessions.end(forked)
            raise ImageNotFound(f"The image of turn {number} of session {session_id} has just been deleted.") from None
        return self._view(forked)

    def _first_turn(self, request: StartSessionRequest, terms: Terms) -> Draft:
        webhook = self._webhooks.checked(request.webhook)
        turn = TurnRequest(**self._sources.resolve(request, terms.owner).model_dump())
        new = NewSession(
            owner=terms.owner,
            output_format=turn.output_format or DEFAULT_FORMAT,
            retention_ms=self._settings.retention_ms,
            webhook=webhook,
        )
        return self._new_job(turn, terms, new.id, webhook), SessionSubmit("start", fields=new.fields)

    def _next_turn(self, session_id: str, request: ContinueSessionRequest, terms: Terms) -> Draft:
        session = self._owned(session_id, terms.owner)
        if session.state is not SessionState.ACTIVE:
            raise SessionClosed(session_id, expired=session.state is SessionState.EXPIRED)
        webhook = self._webhooks.checked(request.webhook) or session.webhook
        joins = SessionSubmit("continue", self._settings.session_idle_ms, self._settings.max_waiting_turns)
        return self._new_job(TurnRequest(**request.model_dump()), terms, session_id, webhook), joins

    def _new_job(self, request: TurnRequest, terms: Terms, session_id: str, webhook: str | None) -> NewJob:
        return NewJob(
            request=request.model_copy(update={"webhook": None}),
            webhook=webhook,
            owner=terms.owner,
            key_id=terms.key_id,
            idempotency=terms.idempotency,
            lane="interactive",
            model=self._settings.model,
            on_unknown_outcome=request.on_unknown_outcome or self._settings.on_unknown_outcome,
            session_id=session_id,
            retention_ms=self._settings.retention_ms,
        )

    def _owned(self, session_id: str, owner: str) -> Session:
        return self._records.get(session_id, owner)

    def _view(self, session: Session) -> SessionView:
        jobs = self._job_records.get_many(self._records.turn_job_ids(session))
        turns = list(zip(jobs, self._jobs.positions(jobs), strict=True))
        return session_view(session, turns, self._limiter.state())

    def _summaries(self, session_id: str, owner: str) -> Iterator[SessionSummary]:
        """The session in brief; nothing when it has just been deleted."""
        with suppress(SessionNotFound):
            session = self._owned(session_id, owner)
            yield session_summary(session, self._job_records.get_many(self._records.turn_job_ids(session)))
