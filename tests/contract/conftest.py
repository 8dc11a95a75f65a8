"""One sandbox for all contract tests, clean for each, and the real OpenAI client that speaks to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI
from published_openapi import PublishedApi, load_published_api
from sandbox_kit import KEY, RunningSandbox, running_sandbox


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """A sandbox for the whole session."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_process: RunningSandbox) -> RunningSandbox:
    """The sandbox without calls, faults or latency of other tests."""
    sandbox_process.reset()
    return sandbox_process


@pytest.fixture
def openai_client(sandbox: RunningSandbox) -> Iterator[OpenAI]:
    """OpenAI's SDK, pointed at the sandbox, without its own retries."""
    with OpenAI(base_url=f"{sandbox.url}/v1", api_key=KEY, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def published_api() -> PublishedApi:
    """OpenAI's published OpenAPI document."""
    return load_published_api()
