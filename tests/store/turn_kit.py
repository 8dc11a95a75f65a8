"""What the tests of edit sessions share: starting one, adding turns, ending a turn with an image of its own."""

from __future__ import annotations

from typing import Final

from store_kit import HOUR_MS, IMAGE, LONG_AGO_MS, OWNER, SUCCEEDED, Bench, new_job

from imagequeue.jobs import Claim, Job, JobState, Result
from imagequeue.requests import TurnRequest
from imagequeue.sessions import NewSession, Session, SessionImage, SessionSubmit
from imagequeue.store.jobs import Ending

MOST_TURNS: Final = 5
FIRST_TURN: Final = TurnRequest(prompt="Make it night", images=("upload:1",))
LATER_TURN: Final = TurnRequest(prompt="Make it day again")


def turn_job(session_id: str, **changes: object) -> dict[str, object]:
    """The fields of a turn's job."""
    return {"request": LATER_TURN, "session_id": session_id, **changes}


def start_session(bench: Bench, turns: int = 1, **changes: object) -> tuple[Session, list[Job]]:
    """A new session with some turns."""
    new = NewSession.model_validate({"owner": OWNER, "output_format": "png"} | changes)
    first = new_job(**turn_job(new.id, request=FIRST_TURN, owner=new.owner))
    jobs = [bench.store.submit(first, SessionSubmit("start", fields=new.fields))]
    jobs += [add_turn(bench, new.id, owner=new.owner) for _ in range(turns - 1)]
    return bench.sessions.get(new.id), jobs


def add_turn(bench: Bench, session_id: str, most_turns: int = MOST_TURNS, **changes: object) -> Job:
    """One more turn of a session; it counts as idle after an hour."""
    joins = SessionSubmit("continue", HOUR_MS, most_turns)
    return bench.store.submit(new_job(**turn_job(session_id, **changes)), joins)


def painted(claim: Claim) -> tuple[Result, SessionImage]:
    """The result of an attempt, with an image that no other attempt makes, and the image as its session keeps it."""
    image = IMAGE.model_copy(update={"key": f"{claim.job.id}/{claim.attempt}"})
    fields = image.model_dump() | {"job_id": claim.job.id, "output_format": "webp"}
    return SUCCEEDED.model_copy(update={"images": (image,)}), SessionImage.model_validate(fields)


def succeed(bench: Bench, claim: Claim) -> Ending:
    """Finish a turn with an image of its own."""
    return bench.store.finish(claim, *painted(claim))


def be_idle(bench: Bench, session_id: str) -> None:
    """Let the session's last use be long ago."""
    bench.raw.hset(bench.keys.session(session_id), "updated_at", LONG_AGO_MS)
    bench.raw.zadd(bench.keys.sessions_idle, {session_id: LONG_AGO_MS})


def states(bench: Bench, jobs: list[Job]) -> list[JobState]:
    """The states of jobs now."""
    return [job.state for job in bench.store.get_many([job.id for job in jobs])]


def waiting(bench: Bench) -> list[str]:
    """The interactive jobs in the queue, first to last."""
    return list(bench.members(bench.keys.waiting("interactive")))


def pending(bench: Bench, session_id: str) -> list[str]:
    """The session's turns that run or wait."""
    return list(bench.members(bench.keys.turns(session_id)))


def sweep_halted(bench: Bench) -> list[str]:
    """Cancel what was halted, as the sweeper does; gives the reasons."""
    halted = bench.due().halted
    for entry in halted:
        bench.store.cancel_halted(entry)
    return [entry.partition(":")[2] for entry in halted]
