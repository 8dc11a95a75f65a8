"""What the tests of edit sessions share."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence

from fleet_kit import Fleet
from PIL import Image

from imagequeue.jobs import Job, JobState
from imagequeue.requests import ContinueSessionRequest, StartSessionRequest, parse_as
from imagequeue.submission import LOCAL_TERMS


def picture(fleet: Fleet, colour: str = "steelblue", *, transparent: bool = False) -> str:
    """A stored PNG of 1024×1024 pixels as `upload:<sha256>`, for a mask with a transparent square."""
    image = Image.new("RGBA", (1024, 1024), "black" if transparent else colour)
    if transparent:
        image.paste((0, 0, 0, 0), (256, 256, 768, 768))
    body = io.BytesIO()
    image.save(body, "PNG")
    with fleet.queue.inputs.folder() as folder:
        path = folder / "picture.png"
        path.write_bytes(body.getvalue())
        return f"upload:{fleet.queue.inputs.store_file(path, 'image/png', 'image').sha256}"


def start_session(fleet: Fleet, prompt: str, **fields: object) -> Job:
    """A new session's first turn."""
    request = {"prompt": prompt, "quality": "low", "images": [picture(fleet)], **fields}
    return fleet.queue.sessions.start(parse_as(StartSessionRequest, request), LOCAL_TERMS).job


def add_turn(fleet: Fleet, first: Job, prompt: str, *, session_id: str | None = None, **fields: object) -> Job:
    """One more turn of the session that `first` belongs to."""
    request = parse_as(ContinueSessionRequest, {"prompt": prompt, "quality": "low", **fields})
    return fleet.queue.sessions.add_turn(session_id or first.session_id or "", request, LOCAL_TERMS).job


def chained(turns: Sequence[Job]) -> bool:
    """Whether all turns succeeded, each on the very bytes that the one before stored, one after the other."""
    pairs = list(itertools.pairwise(turns))
    bytes_chained = all(after.inputs[0].sha256 == before.images[0].sha256 for before, after in pairs)
    one_by_one = all((before.finished_at or 0) <= after.attempts[-1].started for before, after in pairs)
    return all(turn.state is JobState.SUCCEEDED for turn in turns) and bytes_chained and one_by_one
