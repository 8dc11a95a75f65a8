"""What goes to OpenAI: a line of a batch's input file for each request, as its Batch API documents it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from imagequeue.parcels import endpoint_of
from imagequeue.requests import GenerateRequest, JobRequest


def input_line(
    number: int, custom_id: str, model: str, request: JobRequest, images: Sequence[str] = (), mask: str | None = None
) -> bytes:
    """The line of one request.

    Args:
        number: of the line in its manifest.
        custom_id: what its owner calls it.
        model: that paints.
        request: what to paint; previews are not to be had in a batch.
        images: ids of OpenAI's files with the images to edit.
        mask: the same of the mask.
    """
    body = {"model": model, **_parameters(request)}
    if images:
        body["images"] = [{"file_id": file_id} for file_id in images]
    if mask is not None:
        body["mask"] = {"file_id": mask}
    line = {
        "custom_id": remote_custom_id(number, custom_id),
        "method": "POST",
        "url": endpoint_of(request),
        "body": body,
    }
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def remote_custom_id(number: int, custom_id: str) -> str:
    """The line's name at OpenAI: it begins with the number, by which the answer finds its line again."""
    return f"{number}:{custom_id}"


def number_of(remote_id: str) -> int | None:
    """The line's number in its name at OpenAI; None when it is none of ours."""
    digits, colon, _ = remote_id.partition(":")
    return int(digits) if colon and digits.isascii() and digits.isdecimal() else None


def _parameters(request: JobRequest) -> dict[str, object]:
    chosen: dict[str, object] = {
        "prompt": request.prompt,
        "n": request.n,
        "size": request.size,
        "quality": request.quality,
        "background": request.background,
        "output_format": request.output_format,
    }
    if request.output_format != "png" and request.output_compression is not None:
        chosen["output_compression"] = request.output_compression
    if request.user is not None:
        chosen["user"] = request.user
    if isinstance(request, GenerateRequest):
        chosen["moderation"] = request.moderation
    return chosen
