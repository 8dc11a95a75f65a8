"""Connections: bounded, refused in clear words, and closed when done."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from store_kit import Bench, BenchMaker, new_job

from imagequeue.errors import Misconfigured, StoreUnavailable
from imagequeue.store.attempts import AttemptStore
from imagequeue.store.connection import RedisClient, connect, refuse_eviction, translated
from sandbox.stack.ports import choose_port
from sandbox.stack.redis_server import RunningServer, start_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Generator[RedisClient]:
    """A real Redis whose configuration the test may change."""
    server = start_redis(tmp_path)
    with closing(connect(server.url)) as client:
        yield client
    server.stop()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "allkeys-random"])
def test_a_redis_that_would_evict_records_is_refused_with_the_remedy(own_redis: RedisClient, policy: str) -> None:
    refuse_eviction(own_redis)
    cast("Any", own_redis).config_set("maxmemory-policy", policy)
    with pytest.raises(Misconfigured, match=rf"'{policy}'.*redis-cli CONFIG SET maxmemory-policy noeviction"):
        refuse_eviction(own_redis)
    cast("Any", own_redis).config_set("maxmemory-policy", "noeviction")
    refuse_eviction(own_redis)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:6379", "http://127.0.0.1", "redis://user:s3cr3t/more@127.0.0.1", "redis://:pw@127.0.0.1:s3cr3t/0", ""],
)
def test_what_is_not_a_redis_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(Misconfigured, match="IMAGEQUEUE_REDIS_URL is not a Redis URL") as caught:
        connect(url)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_redis_that_does_not_answer_is_unavailable_without_showing_the_password() -> None:
    with closing(connect(f"redis://:s3cr3t@127.0.0.1:{choose_port()}/0")) as client:
        with pytest.raises(StoreUnavailable) as caught, translated():
            client.ping()
        with pytest.raises(StoreUnavailable):
            refuse_eviction(client)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.retryable


def test_callers_wait_for_a_connection_instead_of_failing(open_bench: BenchMaker, redis_server: RunningServer) -> None:
    bench = open_bench("redis")
    name = f"small-{uuid.uuid4().hex}"
    together = threading.Barrier(32)
    with closing(connect(f"{redis_server.url}?client_name={name}", max_connections=2)) as client:
        store = AttemptStore(client, bench.keys)

        def submit(_number: int) -> str:
            together.wait()
            return store.submit(new_job()).id

        with ThreadPoolExecutor(32) as pool:
            ids = set(pool.map(submit, range(32)))
        assert len(connections_named(bench, name)) <= 2
    assert set(bench.members(bench.keys.waiting("interactive"))) == ids


def test_a_closed_client_leaves_no_connection(open_bench: BenchMaker, redis_server: RunningServer) -> None:
    bench = open_bench("redis")
    name = f"closed-{uuid.uuid4().hex}"
    client = connect(f"{redis_server.url}?client_name={name}")
    client.ping()
    assert len(connections_named(bench, name)) == 1
    client.close()
    # The server takes note of a hang-up before it serves what was sent later, unless both wait in one turn of its loop.
    assert any(not connections_named(bench, name) for _ in range(1000))


def test_scripts_survive_a_server_that_forgot_them(open_bench: BenchMaker) -> None:
    bench = open_bench("redis")
    job = bench.submit()
    bench.raw.script_flush()
    bench.claimed(job)
    assert bench.store.submit(new_job()).attempt == 0


def connections_named(bench: Bench, name: str) -> list[dict[str, str]]:
    """The connections of that name, as the server sees them."""
    return [entry for entry in bench.raw.client_list() if entry["name"] == name]
