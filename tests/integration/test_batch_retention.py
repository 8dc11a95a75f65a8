"""Batches leave Redis for S3 and are deleted when their time is over; manifests that nobody owns go, too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from batch_kit import lines
from fleet_kit import settings_of
from manifest_kit import good, jsonl, read

from imagequeue.batch_records import BatchRecords
from imagequeue.batch_removal import BatchRemoval
from imagequeue.batch_requests import BatchOptions
from imagequeue.batch_retention import BatchRetention
from imagequeue.batch_views import BatchView
from imagequeue.batches import BatchNotFound, BatchOver, BatchRunning, BatchState
from imagequeue.errors import ObjectsUnavailable
from imagequeue.jobs import JobError
from imagequeue.manifests.lines import ManifestLine
from imagequeue.objects import ObjectStore
from imagequeue.service import ImageQueue, open_queue
from imagequeue.store.batches import WRITING_MS, BatchStore
from imagequeue.store.connection import RedisClient, connect
from imagequeue.store.feeding import FeedStore
from imagequeue.store.fleet import FleetStore
from imagequeue.store.keys import Keys
from imagequeue.submission import Terms

OWNER = "local"
HOT_MS, KEPT_MS = 1_000_000, 3_000_000
DAY_MS = 86_400_000
GONE = JobError(code="input_missing", message="there is no such upload")


@dataclass(frozen=True)
class House:
    """A queue of its own, and what keeps its house."""

    queue: ImageQueue
    objects: ObjectStore
    environment: Mapping[str, str]
    client: RedisClient
    keys: Keys
    store: BatchStore
    feed: FeedStore
    retention: BatchRetention

    def batch(self, count: int = 2) -> BatchView:
        """A batch whose lines wait."""
        manifest = good(read(jsonl(*lines(count, "kept"))))
        return self.queue.batches.create(manifest, BatchOptions(name="kept"), Terms(OWNER))[0]

    def over(self, count: int = 2) -> BatchView:
        """A batch that has ended, because no job could be made of its lines."""
        view = self.batch(count)
        batch = self.store.get(view.id)
        assert self.feed.begin([(batch, number, GONE) for number in range(count)]) == ["failed"] * count
        return self.queue.batches.get(view.id, owner=OWNER)

    def round(self, later_ms: int) -> None:
        """Do what is due then."""
        now = FleetStore(self.client, self.keys).now()
        for step in self.retention.steps(now + later_ms, 100):
            step()

    def kept(self, batch_id: str) -> list[str]:
        """What S3 has of a batch."""
        return [found.key.rpartition("/")[2] for found in self.objects.listed(f"batches/{batch_id}/")]

    def drafts(self) -> list[str]:
        """Batches whose manifest is being written."""
        return self.store.abandoned_drafts(10**15, 10)


@pytest.fixture
def house(service_environment: Mapping[str, str], tmp_path: Path) -> Generator[House]:
    """A house whose records age fast."""
    prefix = f"test-{tmp_path.name}-{id(tmp_path)}:"
    ages = {"IMAGEQUEUE_HOT_DAYS": str(HOT_MS / DAY_MS), "IMAGEQUEUE_RETENTION_DAYS": str(KEPT_MS / DAY_MS)}
    environment = {**service_environment, **ages, "IMAGEQUEUE_KEY_PREFIX": prefix}
    settings = settings_of(environment)
    queue, client, keys = open_queue(settings), connect(settings.redis_url), Keys(prefix)
    objects, store = ObjectStore(settings), BatchStore(client, keys)
    retention = BatchRetention(store, BatchRecords(store, objects), objects, hot_ms=settings.hot_ms)
    yield House(queue, objects, environment, client, keys, store, FeedStore(client, keys), retention)
    queue.close()
    client.close()


def test_a_batch_that_has_ended_is_the_same_when_it_has_left_redis(house: House) -> None:
    before = house.over()
    results = list(house.queue.batches.results(before.id, owner=OWNER))
    house.round(later_ms=1)
    assert house.client.exists(house.keys.batch(before.id))
    house.round(later_ms=HOT_MS + 1000)
    mine = house.keys.for_batch(before.id, OWNER)
    own = [key for name, key in mine.items() if name.startswith("batch_") or name == "batch"]
    assert not any(house.client.exists(key) for key in own)
    assert house.queue.batches.get(before.id, owner=OWNER) == before
    assert list(house.queue.batches.results(before.id, owner=OWNER)) == results
    finished = house.queue.batches.results(before.id, order="finished", after=0, owner=OWNER)
    assert [line.position for line in finished] == [1]
    assert house.queue.batches.list(cursor=None, limit=5, owner=OWNER).batches == (before,)
    with pytest.raises(BatchNotFound):
        house.queue.batches.get(before.id, owner="somebody else")


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_a_batch_that_has_left_redis_is_not_steered_any_more(house: House, action: str) -> None:
    batch = house.over()
    house.round(later_ms=HOT_MS + 1000)
    steer: Callable[..., BatchView] = getattr(house.queue.batches, action)
    with pytest.raises(BatchOver):
        steer(batch.id, owner=OWNER)
    with pytest.raises(BatchOver):
        house.queue.batches.retry(batch.id, ["failed"], owner=OWNER)


def test_record_and_manifest_are_deleted_when_the_retention_ends(house: House) -> None:
    batch = house.over()
    house.round(later_ms=HOT_MS + 1000)
    assert house.kept(batch.id) == ["000000.jsonl", "record.json"]
    house.round(later_ms=KEPT_MS - 100_000)
    assert house.kept(batch.id)
    house.round(later_ms=KEPT_MS + 1000)
    assert house.kept(batch.id) == []
    with pytest.raises(BatchNotFound):
        house.queue.batches.get(batch.id, owner=OWNER)
    assert house.queue.batches.list(cursor=None, limit=5, owner=OWNER).batches == ()
    assert house.store.over(10**15, 10) == []


@pytest.mark.parametrize("later_ms", [0, HOT_MS + 1000], ids=["in Redis", "archived"])
def test_a_deleted_batch_leaves_nothing_and_one_that_has_not_ended_is_refused(house: House, later_ms: int) -> None:
    batch, running = house.over(), house.batch()
    house.round(later_ms=later_ms)
    with pytest.raises(BatchRunning):
        house.queue.batches.delete(running.id, owner=OWNER)
    with pytest.raises(BatchNotFound):
        house.queue.batches.delete(batch.id, owner="somebody else")
    house.queue.batches.delete(batch.id, owner=OWNER)
    assert house.kept(batch.id) == []
    with pytest.raises(BatchNotFound):
        house.queue.batches.delete(batch.id, owner=OWNER)
    assert [one.id for one in house.queue.batches.list(cursor=None, limit=5, owner=OWNER).batches] == [running.id]
    assert house.store.over(10**15, 10) == []
    assert not house.client.exists(house.keys.batch(batch.id))
    assert house.kept(running.id) == ["000000.jsonl"]


def test_a_batch_that_goes_on_while_it_is_being_deleted_stays(house: House) -> None:
    batch = house.over()
    ended = house.store.get(batch.id)
    house.queue.batches.retry(batch.id, ["failed"], owner=OWNER)
    with pytest.raises(BatchRunning):
        BatchRemoval(house.store, house.queue.batches.records, house.objects).remove(ended)
    assert house.queue.batches.get(batch.id, owner=OWNER).state is BatchState.RUNNING
    assert "000000.jsonl" in house.kept(batch.id)


def test_a_batch_that_goes_on_stays(house: House) -> None:
    batch = house.over()
    house.queue.batches.retry(batch.id, ["failed"], owner=OWNER)
    house.round(later_ms=KEPT_MS + 1000)
    view = house.queue.batches.get(batch.id, owner=OWNER)
    assert (view.state, view.counts.waiting) == (BatchState.RUNNING, 2)
    assert house.kept(batch.id) == ["000000.jsonl"]


def test_a_manifest_whose_writer_was_killed_is_deleted(house: House) -> None:
    writer = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("dying_writer.py"))],
        env={**os.environ, **house.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"written\n"
        writer.kill()
    (batch_id,) = house.drafts()
    assert house.kept(batch_id) == ["000000.jsonl"]
    house.round(later_ms=WRITING_MS - 60_000)
    assert house.kept(batch_id) == ["000000.jsonl"]
    house.round(later_ms=WRITING_MS)
    assert house.kept(batch_id) == []
    assert house.drafts() == []


def test_a_manifest_that_took_too_long_becomes_no_batch_and_nothing_is_left_of_it(house: House) -> None:
    def slow() -> Iterator[ManifestLine]:
        yield from good(read(jsonl(*lines(1, "slow"))))
        (batch_id,) = house.drafts()
        house.client.zadd(house.keys.batches_drafts, {batch_id: 1})  # as if that had taken years
        found.append(batch_id)

    found: list[str] = []
    with pytest.raises(ObjectsUnavailable, match="more than an hour: send it again"):
        house.queue.batches.create(slow(), BatchOptions(), Terms(OWNER))
    assert (house.kept(found[0]), house.drafts()) == ([], [])
    assert house.queue.batches.list(cursor=None, limit=5, owner=OWNER).batches == ()


def test_a_refused_manifest_leaves_nothing_behind(house: House) -> None:
    broken = read(jsonl({"prompt": ""}))
    with pytest.raises(Exception, match="1 line is wrong"):
        house.queue.batches.create(broken, BatchOptions(), Terms(OWNER))
    assert house.drafts() == []
    assert house.queue.batches.list(cursor=None, limit=5, owner=OWNER).batches == ()
