"""The hand-written script (script.py) as a process beside a benchmark, on the same services."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench_stack import Bench, peak_mb

_SCRIPT: Final = Path(__file__).with_name("script.py")


@dataclass(frozen=True, slots=True)
class Made:
    """What the script says of what it made: the whole, and each image."""

    seconds: float
    milliseconds: Sequence[float]


class ByHand:
    """The script's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def make(self, count: int, at_once: int) -> Made:
        """Let it make so many images, and wait for them."""
        assert self._process.stdin
        assert self._process.stdout
        print(count, at_once, file=self._process.stdin, flush=True)
        return Made(**json.loads(self._process.stdout.readline()))

    def peak_mb(self) -> float:
        """The largest resident set that it ever had, in MB (10^6 bytes)."""
        return peak_mb(self._process.pid)


@contextmanager
def by_hand(bench: Bench, size: str) -> Generator[ByHand]:
    """Start the script and let it make one image before anything counts: imports and connections are there then."""
    settings = bench.settings
    asked = ("--endpoint", settings.s3_endpoint or "", "--bucket", settings.s3_bucket, "--size", size)
    process = subprocess.Popen(
        [sys.executable, str(_SCRIPT), *asked],
        env=bench.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        script = ByHand(process)
        script.make(1, 1)
        yield script
    finally:
        process.communicate()
