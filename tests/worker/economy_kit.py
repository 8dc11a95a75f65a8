"""What the tests of the economy lane share: batches, and both sides of the story."""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from fleet_kit import PATIENCE_SECONDS, Fleet
from manifest_kit import LIMITS, jsonl

from imagequeue.api_keys import LOCAL_OWNER
from imagequeue.batch_requests import BatchOptions
from imagequeue.batch_views import BatchView, ResultLine
from imagequeue.jobs import Job
from imagequeue.manifests.reading import read_manifest
from imagequeue.store.keys import Keys
from imagequeue.submission import Terms

SMALL: Final = {"quality": "low", "size": "1024x1024", "output_format": "jpeg"}
POLL: Final = {"IMAGEQUEUE_ECONOMY_POLL_SECONDS": "0.3", "IMAGEQUEUE_ECONOMY_MARGIN_SECONDS": "4"}


@dataclass(frozen=True, slots=True)
class Lane:
    """A fleet, and prompts that no other test has."""

    fleet: Fleet
    words: str
    files_before: frozenset[str]

    @classmethod
    def on(cls, fleet: Fleet) -> Lane:
        """A lane of its own on this fleet."""
        return cls(fleet, f"economy {uuid.uuid4().hex}", frozenset(_file_ids(fleet)))

    def line(self, name: str, **fields: object) -> dict[str, object]:
        """A small request."""
        return {"custom_id": name, "prompt": f"{self.words} {name}", **SMALL, **fields}

    def submit(self, lines: Sequence[dict[str, object]], owner: str = LOCAL_OWNER, **options: Any) -> BatchView:
        """Submit a batch that may take a day, unless the options say otherwise."""
        wanted = options if "deadline" in options else {"completion_window": "24h", **options}
        manifest = read_manifest(io.BytesIO(jsonl(*lines)), "jsonl", LIMITS)
        terms = Terms(owner=owner, key_id=options.pop("key_id", None))
        return self.fleet.queue.batches.create(manifest, BatchOptions.model_validate(wanted), terms)[0]

    def look(self, batch: BatchView) -> BatchView:
        """The batch as it is now."""
        return self.fleet.queue.batches.get(batch.id, owner=LOCAL_OWNER)

    def over(self, batch: BatchView) -> BatchView:
        """The batch once it has ended, or paused."""
        ended = self.fleet.queue.batches.wait(batch.id, PATIENCE_SECONDS, owner=LOCAL_OWNER)
        assert ended.finished_at or ended.pause, f"it is still {ended}"
        return ended

    def results(self, batch: BatchView) -> dict[str, ResultLine]:
        """How the lines ended, by custom_id; each once."""
        found = list(self.fleet.queue.batches.results(batch.id, owner=LOCAL_OWNER))
        assert len({line.custom_id for line in found}) == len(found) == batch.lines
        return {line.custom_id: line for line in found}

    def job(self, line: ResultLine) -> Job:
        """The line's job."""
        assert line.job_id
        return self.fleet.queue.get(line.job_id)

    def calls(self) -> list[dict[str, Any]]:
        """What the sandbox received: lines of batches, and calls in real time."""
        return self.fleet.sandbox.calls_beginning(self.words)

    def bill(self) -> float:
        """Dollars that the sandbox charges for these."""
        return sum(call["cost_usd"] or 0.0 for call in self.calls())

    def parcels(self) -> int:
        """How many parcels are not done."""
        return self.fleet.redis.zcard(Keys(self.fleet.settings.key_prefix).parcels_due)

    def nothing_left(self) -> bool:
        """Whether all parcels are done, and OpenAI keeps no file of theirs."""
        return self.parcels() == 0 and _file_ids(self.fleet) <= self.files_before


def _file_ids(fleet: Fleet) -> set[str]:
    return {file["id"] for file in fleet.sandbox.files()}


def upload(fleet: Fleet, content: bytes, folder: Path) -> str:
    """An input image as a source."""
    path = folder / f"{uuid.uuid4().hex}.png"
    path.write_bytes(content)
    return f"upload:{fleet.queue.inputs.store_file(path, None, 'image').sha256}"


def in_seconds(seconds: float) -> datetime:
    """A point in time."""
    return datetime.now(UTC) + timedelta(seconds=seconds)
