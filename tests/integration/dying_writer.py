"""Submits a batch and gets stuck: when the first chunk of its manifest is in S3 it says so, and reads on for ever."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from imagequeue.batch_requests import BatchOptions
from imagequeue.manifests.lines import ManifestLine
from imagequeue.manifests.store import CHUNK_LINES
from imagequeue.requests import GenerateRequest
from imagequeue.service import open_queue
from imagequeue.settings import load_settings
from imagequeue.submission import Terms


def lines() -> Iterator[ManifestLine]:
    """So many that a chunk is full, and no more."""
    for number in range(CHUNK_LINES):
        yield ManifestLine(number, f"line-{number}", GenerateRequest(prompt="A lighthouse"), number + 1)
    sys.stdout.write("written\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    open_queue(load_settings()).batches.create(lines(), BatchOptions(), Terms("local"))
