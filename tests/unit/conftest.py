"""The scripted API and its clients: every test that asks for one runs over the sync and over the async client."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from client_kit import ScriptedServer
from portal_kit import Connect, async_client

from imagequeue.client import Client


@pytest.fixture
def server() -> Generator[ScriptedServer]:
    """The API."""
    with ScriptedServer().serving() as serving:
        yield serving


@pytest.fixture(params=[Client, async_client], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Makes clients."""
    return request.param


@pytest.fixture
def client(server: ScriptedServer, connect: Connect) -> Generator[Client]:
    """The API's client."""
    with connect(server.url, "iq_secret", patience_seconds=10) as connected:
        yield connected
