"""What a client sees of an edit session."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from imagequeue.jobs import Job, JobState
from imagequeue.rate_limits import LimiterState
from imagequeue.sessions import Session, SessionState
from imagequeue.views import ImageView, JobView, Timestamp, View, image_path, job_view, utc, utc_or_none


class SessionSummary(View):
    """A session without its turns."""

    id: str = Field(examples=["ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"])
    state: SessionState
    end_reason: str | None = Field(description="Why it ended by itself; null otherwise.")
    forked_from: str | None = Field(description="`session/turn` that its first image came from.")
    output_format: str = Field(description="Kept by turns that name none.")
    turn: int = Field(description="Number of the last turn that succeeded; 0 before the first.")
    turns_submitted: int = Field(description="How many turns were added, whatever became of them.")
    turns_waiting: int = Field(description="Turns that wait or run.")
    last_prompt: str | None = Field(description="Of the last turn that succeeded.")
    image_url: str | None = Field(description="Path of the image that the next turn edits; null before the first.")
    cost_usd_estimated: float = Field(description="Of all turns together, as far as it is known.")
    possible_extra_cost_usd: float = Field(description="What attempts of unknown fate may have cost on top.")
    created_at: Timestamp
    updated_at: Timestamp
    expires_at: Timestamp | None = Field(
        default=None, description="When it is deleted with its last turn; null while it is active or a turn runs."
    )


class SessionView(SessionSummary):
    """A session with all its turns."""

    turns: tuple[JobView, ...] = Field(description="By number.")
    image: ImageView | None = Field(description="The image that the next turn edits, when a turn here made it.")


class SessionPage(View):
    """Sessions, newest first."""

    sessions: tuple[SessionSummary, ...]
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last.")


def session_summary(session: Session, jobs: Sequence[Job]) -> SessionSummary:
    """Show a session; `jobs` are its turns by number."""
    done = [job for job in jobs if job.state is JobState.SUCCEEDED]
    image = session.image
    return SessionSummary(
        id=session.id,
        state=session.state,
        end_reason=session.end_reason,
        forked_from=session.forked_from,
        output_format=session.output_format,
        turn=session.turn,
        turns_submitted=session.submitted,
        turns_waiting=sum(not job.state.terminal for job in jobs),
        last_prompt=done[-1].request.prompt if done else None,
        image_url=image_path(image.job_id, image.index) if image else None,
        cost_usd_estimated=round(sum(job.cost_usd_estimated or 0 for job in jobs), 6),
        possible_extra_cost_usd=round(sum(job.possible_extra_cost_usd for job in jobs), 6),
        created_at=utc(session.created_at),
        updated_at=utc(session.updated_at),
        expires_at=utc_or_none(_expires_at(session, jobs)),
    )


def _expires_at(session: Session, jobs: Sequence[Job]) -> int | None:
    """Never before the last turn; turns that still wait or run have no time yet."""
    times = [session.expires_at, *(job.expires_at for job in jobs)]
    return None if None in times else max(time for time in times if time is not None)


def session_view(session: Session, turns: Sequence[tuple[Job, int | None]], limiter: LimiterState) -> SessionView:
    """Show a session with its turns, each with its place in the queue; `limiter` is what holds the fleet back."""
    jobs = [job for job, _ in turns]
    views = tuple(job_view(job, position, limiter) for job, position in turns)
    current = session.image.job_id if session.image else None
    image = next((view.images[0] for view in views if view.id == current), None)
    return SessionView(**session_summary(session, jobs).model_dump(), turns=views, image=image)
