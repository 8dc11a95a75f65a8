"""The image that benchmarks store in records where none is painted; by itself, for a worker that loads little else."""

from __future__ import annotations

from imagequeue.jobs import Image


def sample_image(job_id: str, folder: str) -> Image:
    """An image of 1.5 MB, as the record of a real one would be; nothing is in the bucket."""
    return Image(
        index=0,
        key=f"{folder}/0.png",
        preview_key=f"{folder}/0.preview.jpg",
        filename=f"{job_id}.png",
        mime_type="image/png",
        size_bytes=1_572_864,
        width=1024,
        height=1024,
        sha256="a3" * 32,
    )
