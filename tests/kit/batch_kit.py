"""What the tests of batches share: manifests over HTTP, and what became of their lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import httpx2
from manifest_kit import jsonl

JSONL: Final = {"Content-Type": "application/jsonl"}
QUICK: Final = {"quality": "low", "size": "1024x1024", "output_format": "jpeg"}


def lines(count: int, words: str, **fields: object) -> list[dict[str, object]]:
    """So many small requests, whose prompts begin with these words."""
    return [
        {"custom_id": f"line-{number}", "prompt": f"{words} {number}", **QUICK, **fields} for number in range(count)
    ]


def submit(http: httpx2.Client, manifest: Sequence[Mapping[str, object]], **options: object) -> dict[str, Any]:
    """Submit a batch as JSONL."""
    answer = http.post("/v1/batches", content=jsonl(*manifest), headers=JSONL, params=cast("Any", options))
    assert answer.status_code == 201, answer.text
    return answer.json()


def look(http: httpx2.Client, batch: Mapping[str, Any], wait: float = 0) -> dict[str, Any]:
    """The batch as it is now, or once it has ended or paused."""
    answer = http.get(f"/v1/batches/{batch['id']}", params={"wait": f"{wait:g}"}, timeout=wait + 30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def results(http: httpx2.Client, batch: Mapping[str, Any], **params: object) -> list[dict[str, Any]]:
    """How its lines ended."""
    answer = http.get(f"/v1/batches/{batch['id']}/results", params=cast("Any", params))
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]
