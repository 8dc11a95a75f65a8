"""A worker whose calls and uploads cost nothing; the rest (records, hints, limiter, spool, events) is the real one."""

from __future__ import annotations

from pathlib import Path

from sample_image import sample_image

from imagequeue.jobs import Applied, Job, Usage
from worker import server
from worker.openai_images import OpenAIImages
from worker.outputs import OutputStore, Stored, folder_of
from worker.previews import OnPreview
from worker.spool import Painted

_USAGE = Usage(total_tokens=206, input_tokens=10, output_tokens=196, input_text_tokens=10, input_image_tokens=0)


class NullImages(OpenAIImages):
    """Answers at once, with nothing on disk."""

    async def generate(self, job: Job, folder: Path, on_preview: OnPreview) -> Painted:
        """An answer without a file."""
        applied = Applied(size=job.request.size, quality="low", background="opaque", output_format="png")
        return Painted((), _USAGE, applied, "req_null", ())


class NullOutputs(OutputStore):
    """Stores nothing and says that it did."""

    def store(self, job: Job, painted: Painted, output_format: str) -> Stored:
        """One image, as the record of a real one would be."""
        return Stored((sample_image(job.id, folder_of(job)),), ())


def main() -> None:
    """Run the worker until SIGTERM."""
    for name, null in {"OpenAIImages": NullImages, "OutputStore": NullOutputs}.items():
        setattr(server, name, null)
    server.main()


if __name__ == "__main__":
    main()
