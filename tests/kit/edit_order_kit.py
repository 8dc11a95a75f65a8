"""An edit order with files on the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from picture_kit import jpeg, mask, png

from worker.edit_order import EditOrder, LocalImage

FILES: Final = {"first.png": png(), "second.jpg": jpeg(), "mask.png": mask()}
"""Two images and the mask of an order, in the order in which they are sent."""


def order_of(folder: Path, prompt: str, **changes: Any) -> EditOrder:
    """Two images and a mask, to be edited to one small image."""
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    order = EditOrder(
        model="gpt-image-2",
        prompt=prompt,
        images=(LocalImage(folder / "first.png", "image/png"), LocalImage(folder / "second.jpg", "image/jpeg")),
        mask=LocalImage(folder / "mask.png", "image/png"),
        size="1024x1024",
        quality="low",
        n=1,
        background="auto",
        output_format="jpeg",
        output_compression=60,
        user="somebody",
        client_request_id="job_1-1",
    )
    return replace(order, **changes)
