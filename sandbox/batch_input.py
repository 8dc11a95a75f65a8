"""The input file of a batch: JSON lines of `custom_id`, `method`, `url` and `body`, held to OpenAI's rules."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, cast

from sandbox.batch_store import BatchProblem
from sandbox.file_store import StoredFile
from sandbox.values import Fields

MOST_LINES: Final = 50_000
_MOST_PROBLEMS: Final = 100
_MEMBERS: Final = ("custom_id", "method", "url", "body")


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch, not checked beyond its form."""

    number: int  # from 1
    custom_id: str
    body: Fields


@dataclass(slots=True)
class Validation:
    """What a look at the whole input found."""

    lines: int = 0
    model: str | None = None
    problems: list[BatchProblem] = field(default_factory=list[BatchProblem])


def read_lines(file: StoredFile) -> Iterator[Line]:
    """The requests of an input that was validated."""
    for number, text in _texts(file):
        document = cast("Fields", json.loads(text))
        yield Line(number, str(document["custom_id"]), cast("Fields", document["body"]))


def validate(file: StoredFile, endpoint: str) -> Validation:
    """Read the whole input once; at most the first 100 problems are told."""
    found, seen = Validation(), set[str]()
    for number, text in _texts(file):
        found.lines += 1
        if found.lines > MOST_LINES:
            found.problems = [BatchProblem("too_many_tasks", f"A batch may have at most {MOST_LINES} requests.")]
            return found
        problem = _problem(number, text, endpoint, seen, found)
        if problem is not None and len(found.problems) < _MOST_PROBLEMS:
            found.problems.append(problem)
    if not found.lines:
        found.problems.append(BatchProblem("empty_file", "The input file is empty."))
    return found


def _texts(file: StoredFile) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1."""
    for number, text in enumerate(io.BytesIO(file.content), 1):
        if text.strip():
            yield number, text


def _problem(number: int, text: bytes, endpoint: str, seen: set[str], found: Validation) -> BatchProblem | None:
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return BatchProblem("invalid_json_line", "This line is not parseable as valid JSON.", line=number)
    members = cast("Fields", document)
    for name in _MEMBERS:
        if name not in members:
            message = f"Missing required parameter: '{name}'."
            return BatchProblem("missing_required_parameter", message, name, number)
    custom_id, url, body = members["custom_id"], members["url"], members["body"]
    if not isinstance(custom_id, str) or not isinstance(body, dict) or members["method"] != "POST":
        wrong = "custom_id" if not isinstance(custom_id, str) else "method" if isinstance(body, dict) else "body"
        return BatchProblem("invalid_request", f"Invalid value for '{wrong}'.", wrong, number)
    if custom_id in seen:
        message = f"The custom_id '{custom_id}' was used more than once in this batch."
        return BatchProblem("duplicate_custom_id", message, "custom_id", number)
    seen.add(custom_id)
    if url != endpoint:
        message = f"The URL provided for this request does not match the batch endpoint '{endpoint}'."
        return BatchProblem("url_mismatch", message, "url", number)
    model = cast("Fields", body).get("model")
    if found.model is not None and model != found.model:
        message = f"The model '{model}' is not that of the requests before, '{found.model}'."
        return BatchProblem("model_mismatch", message, "body.model", number)
    found.model = model if isinstance(model, str) else found.model
    return None
