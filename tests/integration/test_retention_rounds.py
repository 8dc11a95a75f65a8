"""Rounds of retention one by one, on real Redis and S3: what broke off is gone on with, and inputs stay usable."""

from __future__ import annotations

import io
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fleet_kit import Fleet
from outage_kit import joined_fleet
from PIL import Image
from retention_kit import ages, in_redis, keys_of, objects_of, own_bucket, redis_keys

from imagequeue.errors import ImageNotFound, JobNotFound
from imagequeue.input_images import InputImage
from imagequeue.input_retention import InputRetention
from imagequeue.job_records import JobRecords, record_key
from imagequeue.jobs import Job
from imagequeue.objects import ObjectStore, job_folder
from imagequeue.retention import Retention
from imagequeue.store.archive import ArchiveStore
from imagequeue.store.connection import connect
from imagequeue.store.fleet import FleetStore
from imagequeue.store.input_uses import InputUses
from imagequeue.store.jobs import JobStore
from imagequeue.store.removals import RemovalStore

HOUR_MS = 3_600_000


@dataclass
class House:
    """A queue without workers, and what keeps house there."""

    fleet: Fleet
    objects: ObjectStore
    retention: Retention
    removals: RemovalStore
    uses: InputUses
    inputs: InputRetention
    now: int

    def ended(self, prompt: str = "never painted") -> Job:
        """A job that ended without a worker."""
        return self.fleet.queue.cancel(self.fleet.submit(prompt).id)

    def rounds_until(self, job: Job, *, gone: bool) -> None:
        """Keep house until the job has left Redis, or cannot be read any more."""

        def done() -> bool:
            self.retention.round()
            return self.is_gone(job) if gone else not in_redis(self.fleet, job.id)

        self.fleet.eventually(done)

    def is_gone(self, job: Job) -> bool:
        """Whether nobody can read the job."""
        try:
            self.fleet.queue.get(job.id)
        except JobNotFound:
            return True
        return False

    def a_year_later(self) -> None:
        """A whole round as it would be then; each is later than the one before."""
        for _ in range(3):  # inputs, and the images and manifests that clients have put there themselves
            self.now += 366 * 24 * HOUR_MS
            self.inputs.round(self.now)

    def forget_uses(self) -> None:
        """As if an hour had passed since anything was used."""
        self.fleet.redis.delete(keys_of(self.fleet).input_uses)


@contextmanager
def house_of(fleet: Fleet, settings: Mapping[str, str]) -> Generator[House]:
    """What keeps house for a queue of these settings, with a bucket of its own."""
    with own_bucket(fleet, **settings) as own, ExitStack() as cleanup:
        yield _house(own, cleanup)


def _house(fleet: Fleet, cleanup: ExitStack) -> House:
    client, keys, objects = connect(fleet.settings.redis_url), keys_of(fleet), ObjectStore(fleet.settings)
    records = JobRecords(JobStore(client, keys), ArchiveStore(client, keys), objects)
    uses, retention = InputUses(client, keys), Retention.on(client, fleet.settings, objects, records)
    for part in (client, records, retention):
        cleanup.callback(part.close)
    return House(
        fleet=fleet,
        objects=objects,
        retention=retention,
        removals=RemovalStore(client, keys),
        uses=uses,
        inputs=InputRetention(objects, uses, fleet.settings.retention_ms),
        now=FleetStore(client, keys).now(),
    )


@pytest.fixture
def house(fleet: Fleet) -> Generator[House]:
    """One where records leave Redis soon, and stay in S3."""
    with house_of(fleet, ages(0.001)) as house:
        yield house


@pytest.fixture
def short_lived(fleet: Fleet) -> Generator[House]:
    """One where records are deleted soon, too."""
    with house_of(fleet, ages(0.001, 1)) as house:
        yield house


def test_a_record_that_cannot_be_read_does_not_keep_the_others(house: House) -> None:
    broken, sound = house.ended("broken"), house.ended("sound")
    house.fleet.redis.hset(keys_of(house.fleet).job(broken.id), "created_at", "never")
    house.rounds_until(sound, gone=False)
    assert in_redis(house.fleet, broken.id)
    assert house.fleet.queue.get(sound.id) == sound


def test_a_record_that_somebody_deleted_in_s3_leaves_the_lists_with_its_time(short_lived: House) -> None:
    house, job = short_lived, short_lived.ended()
    house.rounds_until(job, gone=False)
    house.objects.delete(record_key(job.id))
    house.rounds_until(job, gone=True)
    house.fleet.eventually(lambda: house.retention.round() is None and not any_archive(house))


def any_archive(house: House) -> bool:
    """Whether any job is archived."""
    return any(key.startswith(("archive", "expiring")) for key in redis_keys(house.fleet))


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_removal_that_broke_off_is_gone_on_with(house: House, archived: bool, steps: int) -> None:
    """After the mark, after the images, after the record in Redis."""
    job = house.ended()
    if archived:
        house.rounds_until(job, gone=False)
    image = f"{job_folder(job.id)}1/0.png"
    house.objects.put_bytes(image, b"an image", content_type="image/png", filename="0.png")
    house.removals.leave(job)
    if steps > 0:
        house.objects.delete_all(job_folder(job.id), keep=record_key(job.id))
    if steps > 1:
        house.removals.remove(job)
    house.fleet.redis.zadd(keys_of(house.fleet).leaving, {f"{job.id}:{job.owner}": 1})
    house.rounds_until(job, gone=True)
    house.fleet.eventually(lambda: house.retention.round() is None and not objects_of(house.fleet, job_folder(job.id)))
    assert not any_archive(house)


def test_what_a_stale_worker_stored_after_the_removal_is_deleted_at_the_last_look(house: House) -> None:
    job = house.ended()
    house.fleet.queue.delete(job.id)
    late = f"{job_folder(job.id)}1/0.png"
    house.objects.put_bytes(late, b"an image", content_type="image/png", filename="0.png")
    house.retention.round()
    assert objects_of(house.fleet, job_folder(job.id)) == [late]
    house.fleet.redis.zadd(keys_of(house.fleet).leaving, {f"{job.id}:{job.owner}": 1})
    house.retention.round()
    assert objects_of(house.fleet, job_folder(job.id)) == []
    assert not house.fleet.redis.exists(keys_of(house.fleet).leaving)


def test_copies_for_a_job_that_was_never_stored_are_deleted_and_nothing_else_of_it(house: House) -> None:
    job = house.ended()
    copied, own = f"{job_folder(job.id)}reused-1/", f"{job_folder(job.id)}1/0.png"
    for key in (f"{copied}0.png", own):
        house.objects.put_bytes(key, b"an image", content_type="image/png", filename="0.png")
    house.fleet.redis.zadd(keys_of(house.fleet).copies, {copied: 1})
    house.retention.round()
    assert [key for key in objects_of(house.fleet, job_folder(job.id)) if key != record_key(job.id)] == [own]
    assert not house.fleet.redis.exists(keys_of(house.fleet).copies)


def stored(house: House, folder: Path, colour: str) -> InputImage:
    """A stored input of one colour."""
    body = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(body, "PNG")
    path = folder / f"{colour}.png"
    path.write_bytes(body.getvalue())
    return house.fleet.queue.inputs.store_file(path, "image/png", "image")


def test_an_input_is_kept_while_it_is_used_and_goes_when_it_is_not(house: House, tmp_path: Path) -> None:
    image = stored(house, tmp_path, "tomato")
    house.a_year_later()
    assert house.fleet.queue.inputs.describe(f"upload:{image.sha256}") == image, "it may be about to be used"
    house.forget_uses()
    waiting = house.fleet.submit("it waits")
    house.a_year_later()
    assert house.fleet.queue.inputs.describe(f"upload:{image.sha256}") == image, "a job may wait for it"
    house.fleet.queue.cancel(waiting.id)
    house.a_year_later()
    assert objects_of(house.fleet, "inputs/") == []


def test_a_use_makes_an_old_input_new(house: House, tmp_path: Path) -> None:
    image = stored(house, tmp_path, "tomato")
    sidecar = f"inputs/{image.sha256}.json"
    written = house.objects.modified(sidecar)
    with joined_fleet(house.fleet, ages(0.01, 0.01)) as impatient:

        def used_at() -> int:
            impatient.queue.inputs.resolve(f"upload:{image.sha256}", "image")
            return house.objects.modified(sidecar)

        house.fleet.eventually(lambda: used_at() > written)
    now = house.objects.modified(sidecar)
    house.fleet.queue.inputs.resolve(f"upload:{image.sha256}", "image")
    assert house.objects.modified(sidecar) == now, "it is new: nothing is written"


def test_storing_and_deleting_an_input_at_once_leaves_it_whole(house: House, tmp_path: Path) -> None:
    image = stored(house, tmp_path, "tomato")
    with ThreadPoolExecutor(2) as pool:
        for _ in range(15):
            house.forget_uses()
            deleting = pool.submit(house.a_year_later)
            storing = pool.submit(stored, house, tmp_path, "tomato")
            deleting.result()
            assert storing.result() == image
            assert house.fleet.queue.inputs.describe(f"upload:{image.sha256}") == image
            assert house.objects.size(f"inputs/{image.sha256}") == image.size_bytes


def test_a_removal_of_an_input_that_broke_off_is_gone_on_with(house: House, tmp_path: Path) -> None:
    image = stored(house, tmp_path, "tomato")
    house.forget_uses()
    assert house.uses.leave(image.sha256, HOUR_MS) == "leaving"
    house.objects.delete(f"inputs/{image.sha256}")
    with ThreadPoolExecutor(1) as pool:
        storing = pool.submit(stored, house, tmp_path, "tomato")
        house.a_year_later()
        assert storing.result() == image
    assert house.objects.size(f"inputs/{image.sha256}") == image.size_bytes
    with pytest.raises(ImageNotFound):
        house.objects.size("inputs/" + "0" * 64)


def test_what_clients_put_into_the_bucket_and_never_used_is_deleted(house: House) -> None:
    house.objects.put_bytes("uploads/" + "ab" * 32, b"staged", content_type="image/png", filename="a")
    house.objects.put_bytes("manifests/local/a.csv", b"prompt", content_type="text/csv", filename="a")
    for _ in range(3):
        house.inputs.round(house.now)
    assert objects_of(house.fleet, "uploads/")
    assert objects_of(house.fleet, "manifests/")
    house.a_year_later()
    assert objects_of(house.fleet, "uploads/") == []
    assert objects_of(house.fleet, "manifests/") == []
