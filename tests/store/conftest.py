"""The store's tests run on fakeredis and on a real Redis; without a real one they fail, they never skip."""

from __future__ import annotations

import uuid
from collections.abc import Generator
from typing import cast

import fakeredis
import pytest
from store_kit import Bench, BenchMaker, bench_on

from imagequeue.store.connection import RedisClient, connect
from imagequeue.store.keys import Keys
from sandbox.stack.redis_server import RunningServer

ENGINES = ("fakeredis", "redis")


@pytest.fixture
def open_bench(request: pytest.FixtureRequest) -> Generator[BenchMaker]:
    """Opens a store on `fakeredis` or on `redis`, each time under a new prefix."""
    clients: list[RedisClient] = []

    def make(engine: str) -> Bench:
        if engine == "fakeredis":
            server = fakeredis.FakeServer()
            client = cast("RedisClient", fakeredis.FakeRedis(server=server, decode_responses=True))
        else:
            client = connect(cast("RunningServer", request.getfixturevalue("redis_server")).url)
        clients.append(client)
        keys = Keys(f"test-{uuid.uuid4().hex}:")
        return bench_on(client, keys)

    yield make
    for client in clients:
        client.close()


@pytest.fixture(params=ENGINES)
def bench(request: pytest.FixtureRequest, open_bench: BenchMaker) -> Bench:
    """A store, once on each engine."""
    return open_bench(cast("str", request.param))
