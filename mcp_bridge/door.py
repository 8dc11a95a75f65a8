"""The door: what the tools need of the queue, whether it is reached directly or through the REST API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from imagequeue.requests import ContinueSessionRequest, JobRequest, StartSessionRequest
from imagequeue.session_views import SessionPage, SessionView
from imagequeue.views import JobView

Variant = Literal["original", "preview"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A call's job. `reattached`: it was there, made by the same call, whose result was never handed over."""

    job: JobView
    reattached: bool


class Door(Protocol):
    """One owner's way to the queue. Every method raises ImageQueueError: nothing was spent unless a job says so."""

    def url(self, path: str) -> str:
        """Where a path of the REST API is found: its whole address, if the door knows the API's."""
        ...

    async def submit(self, request: JobRequest) -> Accepted:
        """Enqueue a job, or find that of the same call."""
        ...

    async def start_session(self, request: StartSessionRequest) -> Accepted:
        """Enqueue the first turn of a new session, or find that of the same call."""
        ...

    async def add_turn(self, session_id: str, request: ContinueSessionRequest) -> Accepted:
        """Enqueue a session's next turn, or find that of the same call."""
        ...

    async def handed_over(self, job_id: str) -> None:
        """Note that the job's result was delivered: the same call from now on is a new one."""
        ...

    async def job(self, job_id: str) -> JobView:
        """Read a job."""
        ...

    def watch(self, job_ids: Sequence[str], seconds: float, every: float) -> AsyncGenerator[tuple[JobView, ...]]:
        """Yield the jobs at once, when one ends, every `every` seconds, and when `seconds` are over; then end.

        It ends, too, when all jobs have ended. To be closed when it is left early.
        """
        ...

    async def cancel(self, job_id: str) -> JobView:
        """Cancel a queued job, or ask a running one's worker."""
        ...

    async def sessions(self, cursor: str | None, limit: int) -> SessionPage:
        """A page of the sessions, newest first."""
        ...

    async def session(self, session_id: str) -> SessionView:
        """Read a session with its turns."""
        ...

    async def end_session(self, session_id: str) -> SessionView:
        """End a session."""
        ...

    async def fork_session(self, session_id: str, turn: int | None) -> SessionView:
        """A new session that goes on from a turn's image."""
        ...

    async def upload(self, path: Path, field: str) -> str:
        """Keep an image file as an input; `upload:<sha256>`, by which requests name it."""
        ...

    async def image(self, job_id: str, index: int, variant: Variant) -> bytes:
        """An image, or its preview: a JPEG, or a WebP where it is transparent."""
        ...

    async def save(self, job_id: str, index: int, path: Path) -> None:
        """Write an original to a file, piece by piece."""
        ...
