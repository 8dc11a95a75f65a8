"""Schemathesis holds the served document against the real API; `make schemathesis` asks it for much more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from api_kit import RunningApi

from imagequeue.api_keys import Scope
from imagequeue.service import open_queue

EXAMPLES: Final = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "2"))
"""Random requests for each operation and direction, besides those that the document's limits lead to."""
SEED: Final = os.environ.get("SCHEMATHESIS_SEED", "1")
PASSED_OVER: Final = r"/events$|^/v1/images/|^/readyz$"
"""Streams do not end, calls in OpenAI's form wait for images, and readiness answers 503 where no worker is."""
NOT_CHECKED: Final = "positive_data_acceptance"
"""What the schema takes may break a rule that no schema says: the grid of sizes, an Idempotency-Key used before."""
REFUSALS: Final = "[checks.negative_data_rejection]\nexpected-statuses = ['4xx']\n"
"""By default it does not take 413 for a refusal, which a form with too many parts gets."""
LEAST_CASES: Final = 1000


@pytest.mark.timeout(3600 if EXAMPLES > 10 else 240)
def test_the_api_does_what_its_document_says(start_own_api: Callable[..., RunningApi], tmp_path: Path) -> None:
    api = start_own_api(IMAGEQUEUE_MAX_WAIT_SECONDS="0.1", IMAGEQUEUE_API_PROCESSES="1", IMAGEQUEUE_KEY_PEPPER="a" * 64)
    program = str(Path(sys.executable).with_name("schemathesis"))
    options = (
        *("--header", f"Authorization: Bearer {secret_of_an_administrator(api)}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", SEED),
        *("--exclude-path-regex", PASSED_OVER, "--checks", "all", "--exclude-checks", NOT_CHECKED),
        *("--no-shrink", "--continue-on-failure", "--request-timeout", "20"),
    )
    (tmp_path / "schemathesis.toml").write_text(REFUSALS)
    command = [program, "run", f"{api.url}/openapi.json", *options]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    generated = re.search(r"([\d,]+) generated", run.stdout)
    assert generated
    assert int(generated[1].replace(",", "")) >= LEAST_CASES


def secret_of_an_administrator(api: RunningApi) -> str:
    """A new key with all rights."""
    queue = open_queue(api.settings)
    try:
        return queue.keys.create("schemathesis", scopes=frozenset(Scope)).secret
    finally:
        queue.close()
