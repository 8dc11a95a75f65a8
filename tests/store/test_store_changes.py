"""ChangeReader: waiters are woken, nothing falls between registering and reading, and one connection serves all."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import pytest
from store_kit import FINISHED, SUCCEEDED, Bench, BenchMaker, bench_on, new_job

from imagequeue.errors import StoreUnavailable
from imagequeue.store.connection import RedisClient, connect
from imagequeue.store.keys import Keys
from imagequeue.waiting import ChangeReader
from sandbox.stack.redis_server import RunningServer, start_redis

WAIT_SECONDS = 30.0  # a bound for what must come, not a pause
Told = queue.SimpleQueue[tuple[str, str]]
ReaderMaker = Callable[[Bench], ChangeReader]


@pytest.fixture
def open_reader() -> Generator[ReaderMaker]:
    """Opens readers, and closes them while a change wakes them from their read."""
    opened: list[tuple[Bench, ChangeReader]] = []

    def make(bench: Bench) -> ChangeReader:
        opened.append((bench, ChangeReader(bench.client, bench.keys.changes)))
        return opened[-1][1]

    yield make
    for bench, reader in opened:
        close_now(bench, reader)


def close_now(bench: Bench, reader: ChangeReader) -> None:
    """Close a reader without waiting for its read to run out."""
    closer = threading.Thread(target=reader.close)
    closer.start()
    bench.submit()
    closer.join(WAIT_SECONDS)
    assert not closer.is_alive()


class NewReaders:
    """The readers that were started since this was made: a queue that tests share has one of its own."""

    def __init__(self) -> None:
        self._earlier = set(_readers())

    def __len__(self) -> int:
        return len(set(_readers()) - self._earlier)


def _readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "change-reader"]


def listener(told: Told) -> Callable[[str, str], None]:
    """A listener that hands on what it is told."""
    return lambda job_id, event: told.put((job_id, event))


def test_a_waiter_that_registered_before_the_change_is_woken(bench: Bench, open_reader: ReaderMaker) -> None:
    told: Told = queue.SimpleQueue()
    job = bench.submit()
    with open_reader(bench).listening(job.id, listener(told)):
        claim = bench.claimed(job)
        bench.store.cancel(job)
        bench.store.finish(claim, SUCCEEDED)
        events = [told.get(timeout=WAIT_SECONDS) for _ in range(3)]
    assert events == [(job.id, "running"), (job.id, "cancel_requested"), (job.id, "succeeded")]


def test_the_first_waiter_of_an_empty_stream_is_woken(bench: Bench, open_reader: ReaderMaker) -> None:
    told: Told = queue.SimpleQueue()
    new = new_job()
    with open_reader(bench).listening(new.id, listener(told)):
        bench.store.submit(new)
        assert told.get(timeout=WAIT_SECONDS) == (new.id, "queued")


def test_a_waiter_is_told_of_its_own_job_only_and_of_nothing_older(bench: Bench, open_reader: ReaderMaker) -> None:
    told: Told = queue.SimpleQueue()
    mine, other = bench.submit(), bench.submit()
    with open_reader(bench).listening(mine.id, listener(told)):
        bench.claimed(other)
        bench.claimed(mine)
        assert told.get(timeout=WAIT_SECONDS) == (mine.id, "running")


def test_all_waiters_of_a_job_are_woken_by_one_reader(bench: Bench, open_reader: ReaderMaker) -> None:
    told: Told = queue.SimpleQueue()
    job = bench.submit()
    reader, readers = open_reader(bench), NewReaders()
    with ExitStack() as waiting:
        for _ in range(100):
            waiting.enter_context(reader.listening(job.id, listener(told)))
        assert len(readers) == 1
        bench.claimed(job)
        assert {told.get(timeout=WAIT_SECONDS) for _ in range(100)} == {(job.id, "running")}


def test_a_waiter_that_left_is_told_nothing_more(bench: Bench, open_reader: ReaderMaker) -> None:
    left: Told = queue.SimpleQueue()
    told: Told = queue.SimpleQueue()
    job = bench.submit()
    reader = open_reader(bench)
    with reader.listening(job.id, listener(told)):
        with reader.listening(job.id, listener(left)):
            pass
        bench.claimed(job)
        assert told.get(timeout=WAIT_SECONDS) == (job.id, "running")
    assert left.empty()


def test_a_waiter_that_fails_does_not_stop_the_others(bench: Bench, open_reader: ReaderMaker) -> None:
    told: Told = queue.SimpleQueue()
    job = bench.submit()
    reader = open_reader(bench)

    def fail(_job_id: str, _event: str) -> None:
        raise RuntimeError("Event loop is closed")

    with reader.listening(job.id, fail), reader.listening(job.id, listener(told)):
        claim = bench.claimed(job)
        bench.store.finish(claim, SUCCEEDED)
        assert [told.get(timeout=WAIT_SECONDS)[1] for _ in range(2)] == ["running", "succeeded"]


def test_waking_all_reaches_every_waiter_without_a_change(bench: Bench, open_reader: ReaderMaker) -> None:
    told: Told = queue.SimpleQueue()
    reader = open_reader(bench)
    with reader.listening("job_1", listener(told)), reader.listening("job_2", listener(told)):
        reader.wake_all()
        assert sorted(told.get_nowait() for _ in range(2)) == [("job_1", ""), ("job_2", "")]


def test_a_reader_starts_with_its_first_waiter_and_ends_when_closed(bench: Bench) -> None:
    readers = NewReaders()
    reader = ChangeReader(bench.client, bench.keys.changes)
    reader.close()
    reader = ChangeReader(bench.client, bench.keys.changes)
    assert len(readers) == 0
    with reader.listening("job_1", lambda _job_id, _event: None):
        assert len(readers) == 1
    close_now(bench, reader)
    assert len(readers) == 0


def test_many_waiters_share_one_connection(
    redis_server: RunningServer, open_reader: ReaderMaker, open_bench: BenchMaker
) -> None:
    name = f"reader-{uuid.uuid4().hex}"
    bench = open_bench("redis")
    told: Told = queue.SimpleQueue()
    jobs = [bench.submit() for _ in range(200)]
    with (
        closing(connect(f"{redis_server.url}?client_name={name}", max_connections=1)) as client,
        ExitStack() as waiting,
    ):
        reader = ChangeReader(client, bench.keys.changes)
        for job in jobs:
            waiting.enter_context(reader.listening(job.id, listener(told)))
        for job in jobs:
            bench.claimed(job)
        assert {told.get(timeout=WAIT_SECONDS)[0] for _ in jobs} == {job.id for job in jobs}
        connections = [entry for entry in bench.raw.client_list() if entry["name"] == name]
        close_now(bench, reader)
    assert len(connections) == 1


def test_a_change_made_before_the_reader_reconnected_is_delivered(tmp_path: Path) -> None:
    """Redis restarts, and the reader, whose user is gone, is kept out until the change has been made."""
    server = start_redis(tmp_path)
    keys = Keys("test:")
    told: Told = queue.SimpleQueue()
    with closing(connect(server.url)) as client:
        try:
            bench = bench_on(client, keys)
            store = bench.store
            job = bench.submit()
            let_reader_in(client)
            reader_url = server.url.replace("redis://", "redis://reader:secret@")
            with closing(connect(reader_url, max_connections=1)) as reader_client:
                reader = ChangeReader(reader_client, keys.changes)
                with reader.listening(job.id, listener(told)):
                    claim = bench.claimed(job)
                    assert told.get(timeout=WAIT_SECONDS) == (job.id, "running")
                    server.stop()
                    with pytest.raises(StoreUnavailable):
                        store.get(job.id)
                    server = start_redis(tmp_path)
                    assert server.url in reader_url.replace("reader:secret@", ""), "the same port"
                    assert store.finish(claim, SUCCEEDED) == FINISHED
                    let_reader_in(client)
                    assert told.get(timeout=WAIT_SECONDS) == (job.id, "succeeded")
                close_now(bench, reader)
        finally:
            server.stop()


def let_reader_in(client: RedisClient) -> None:
    """Make the reader's user, which lives in the server's memory only."""
    cast("Any", client).acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
