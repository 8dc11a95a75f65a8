"""What an answer of the Responses API says: the image's settings and tokens, or why there is no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imagequeue.errors import BadOutput, ModerationBlocked, ProviderError, ProviderRefused
from imagequeue.jobs import Applied, Usage
from worker.answer_fields import Fields, applied_of, object_of, objects_of, text_of, usage_of
from worker.answers import Answer
from worker.policy import meaning_inside

_MOST_WORDS: Final = 300
"""Characters quoted of what the calling model said in place of an image."""


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What one call of the tool gave. `counts_image` False: `usage` is the calling model's tokens alone."""

    files: tuple[Path, ...]
    usage: Usage | None
    counts_image: bool
    applied: Applied


def read_answer(answer: Answer) -> ToolAnswer:
    """Understand an answer of status 200.

    Raises:
        ProviderError: it holds no image, for the reason that it gives.
    """
    body = answer.body
    calls = [item for item in objects_of(body.get("output")) if item.get("type") == "image_generation_call"]
    if not answer.files:
        raise _why_no_image(body, calls)
    painted = calls[-1] if calls else object_of(None)
    # Zeros where nothing was recorded, says OpenAI.
    image_usage = usage_of(object_of(body.get("tool_usage")).get("image_gen"))
    counts_image = image_usage is not None and bool(image_usage.output_tokens)
    return ToolAnswer(
        files=answer.files,
        usage=image_usage if counts_image else usage_of(body.get("usage")),
        counts_image=counts_image,
        applied=applied_of(painted),
    )


def total_usage(usages: Sequence[Usage | None]) -> Usage | None:
    """The sum of all calls; a figure that one of them lacks is unknown."""
    known = [usage for usage in usages if usage is not None]
    if not known or len(known) < len(usages):
        return None
    return Usage(**{name: _sum([getattr(usage, name) for usage in known]) for name in Usage.model_fields})


def _why_no_image(body: Fields, calls: Sequence[Fields]) -> ProviderError:
    errors = [object_of(failed.get("error")) for failed in (*calls, body)]
    told = next((error for error in errors if error), None)
    if told is not None:
        return meaning_inside(told)
    if object_of(body.get("incomplete_details")).get("reason") == "content_filter":
        return ModerationBlocked("OpenAI's content filter ended the answer before there was an image.")
    if calls:
        status = text_of(calls[0].get("status")) or "unknown"
        return BadOutput(f"The answer of the Responses API holds no image, and not why; the tool's status: {status}.")
    said = _said(body)
    refusals = [part for part in said if part.get("type") == "refusal"]
    words = " ".join(text_of(part.get("refusal")) or text_of(part.get("text")) or "" for part in refusals or said)
    meaning = ModerationBlocked if refusals else ProviderRefused
    return meaning(f"The model that calls the image tool did not call it. It said: {words[:_MOST_WORDS] or 'nothing'}")


def _said(body: Fields) -> list[Fields]:
    messages = [item for item in objects_of(body.get("output")) if item.get("type") == "message"]
    return [part for message in messages for part in objects_of(message.get("content"))]


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
