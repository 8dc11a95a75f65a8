"""What an edit session is: an immutable record of it, and how a turn joins it.

A session's turns run strictly in the order of submit, one at a time, each editing the very bytes that the last
successful turn stored. Times are milliseconds of Redis's clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import Field
from ulid import ULID

from imagequeue.errors import ImageQueueError, SessionClosed, SessionFull, SessionNotFound
from imagequeue.jobs import DEFAULT_RETENTION_MS, Frozen, Job

_SESSION_ID: Final = re.compile(r"ses_[0-7][0-9A-HJKMNP-TV-Z]{25}")


class SessionState(StrEnum):
    """Only an active session takes turns."""

    ACTIVE = "active"
    ENDED = "ended"
    EXPIRED = "expired"


class SessionImage(Frozen):
    """The image that the next turn edits. `key` is an S3 key; sizes in bytes and pixels."""

    job_id: str
    index: int
    key: str
    sha256: str
    mime_type: str
    size_bytes: int
    width: int
    height: int
    output_format: str


class Session(Frozen):
    """A session as the store holds it."""

    id: str
    owner: str
    state: SessionState
    output_format: str
    turn: int = 0  # the last turn that succeeded
    submitted: int = 0  # the last number given to a turn
    image: SessionImage | None = None
    turn_lock: str | None = None  # job_id:attempt of the running turn
    end_reason: str | None = None
    forked_from: str | None = None  # session_id/turn
    webhook: str | None = None  # URL that is told of the end of each turn
    created_at: int
    updated_at: int
    retention_ms: int = DEFAULT_RETENTION_MS  # how long it is kept after its end

    @property
    def expires_at(self) -> int | None:
        """When it is deleted, unless a turn is kept for longer; None while it is active."""
        return None if self.state is SessionState.ACTIVE else self.updated_at + self.retention_ms


class NewSession(Frozen):
    """A session that is not stored yet."""

    id: str = Field(default_factory=lambda: f"ses_{ULID()}")
    owner: str
    output_format: str
    image: SessionImage | None = None
    forked_from: str | None = None
    retention_ms: int = DEFAULT_RETENTION_MS
    webhook: str | None = None

    @property
    def fields(self) -> Mapping[str, str]:
        """The fields of its Redis hash."""
        image = {"image": self.image.model_dump_json()} if self.image else {}
        named = {"forked_from": self.forked_from, "webhook": self.webhook}
        own = {"id": self.id, "owner": self.owner, "output_format": self.output_format}
        own["retention_ms"] = str(self.retention_ms)
        return {**own, **image, **{name: value for name, value in named.items() if value}}


def is_session_id(text: str) -> bool:
    """Whether `text` has the form of a session id: `ses_` and 26 ULID characters."""
    return _SESSION_ID.fullmatch(text) is not None


def session_image(job: Job) -> SessionImage:
    """The image of a succeeded turn, as its session keeps it."""
    image = job.images[0]
    return SessionImage(
        job_id=job.id,
        index=image.index,
        key=image.key,
        sha256=image.sha256,
        mime_type=image.mime_type,
        size_bytes=image.size_bytes,
        width=image.width,
        height=image.height,
        output_format=image.mime_type.removeprefix("image/"),
    )


@dataclass(frozen=True, slots=True)
class SessionSubmit:
    """How a job joins a session when it is submitted."""

    mode: Literal["", "start", "continue"]
    idle_ms: int = 0
    most_turns: int = 0
    fields: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def none(cls) -> Self:
        """A job without a session."""
        return cls("")

    def refusal(self, answer: str, session_id: str) -> ImageQueueError:
        """Why the session did not take the turn."""
        if answer == "session_missing":
            return SessionNotFound(session_id)
        if answer == "session_full":
            return SessionFull(
                f"Session {session_id} has {self.most_turns} turns waiting, which is the limit. "
                "Wait until one of them has ended."
            )
        return SessionClosed(session_id, expired=answer == "session_expired")
