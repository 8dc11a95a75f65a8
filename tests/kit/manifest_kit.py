"""Manifests for tests: their bytes, and what reading them gives."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

from imagequeue.manifests.lines import BadLine, ManifestLine
from imagequeue.manifests.reading import LineLimits, ManifestKind, read_manifest
from imagequeue.manifests.templates import Template

LIMITS = LineLimits(plain=100_000, with_images=1_000_000)


def jsonl(*lines: object) -> bytes:
    """The lines as JSONL."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def read(
    manifest: bytes, kind: ManifestKind = "jsonl", template: Template | None = None
) -> list[ManifestLine | BadLine]:
    """All lines of a manifest."""
    return list(read_manifest(io.BytesIO(manifest), kind, LIMITS, template=template))


def good(lines: Iterable[ManifestLine | BadLine]) -> list[ManifestLine]:
    """Those that may become jobs, all of which these have to be."""
    bad = [line for line in lines if isinstance(line, BadLine)]
    assert not bad, bad
    return [line for line in lines if isinstance(line, ManifestLine)]


def faults(lines: Iterable[ManifestLine | BadLine]) -> list[tuple[int, str, str]]:
    """Line, field and rule of all that is wrong."""
    return [
        (line.line, violation.field, violation.rule)
        for line in lines
        if isinstance(line, BadLine)
        for violation in line.violations
    ]
