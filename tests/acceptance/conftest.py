"""The whole stack as a user starts it: `imagequeue up` as a process."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from stack_kit import Stack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """One stack for the tests that do not stop it."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of the test's own."""
    return tmp_path / "data"
