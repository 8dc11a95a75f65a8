"""The steps of a parcel around the only one that costs money, against a sandbox that fails in between."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from economy_kit import Lane
from fleet_kit import Fleet
from openai import OpenAI

from imagequeue.batch_views import BatchView
from imagequeue.estimates import Pace
from imagequeue.manifests.store import ManifestStore
from imagequeue.objects import ObjectStore
from imagequeue.parcels import Endpoint, Parcel
from imagequeue.requests import parse_request
from imagequeue.store.batches import BatchStore
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys
from imagequeue.store.parcels import HeldParcel, ParcelStore
from worker.economy.deadlines import RealTime
from worker.economy.input_lines import input_line
from worker.economy.packing import Packer
from worker.economy.parcel_work import ParcelWork
from worker.economy.remote_batches import RemoteBatch, RemoteBatches
from worker.loop import LoopThread
from worker.openai_images import OpenAIImages

CREATE = "POST /v1/batches"
SLOWLY = RealTime("gpt-image-2", {}, Pace(), 0.0)


@dataclass
class Bench:
    """A batch of one line, whose parcel is packed, and the work on it; no worker runs."""

    lane: Lane
    store: ParcelStore
    work: ParcelWork
    batch: BatchView
    parcel_id: str
    client: OpenAI

    @property
    def parcel(self) -> Parcel:
        """As it is now."""
        parcel = self.store.get(self.parcel_id)
        assert parcel
        return parcel

    def step(self, work: ParcelWork | None = None) -> None:
        """Let somebody take the next step now."""
        self.store.hurry(self.batch.id)
        (held,) = self.store.claim_due("worker-1", 1)
        (work or self.work).step(held)

    def remote(self) -> list[str]:
        """How the batches of the parcel stand at OpenAI."""
        return [
            each.status
            for each in self.client.batches.list()
            if (each.metadata or {}).get("imagequeue") == self.parcel_id
        ]

    def due_in(self) -> float:
        """Seconds until the parcel is looked at next."""
        keys = Keys(self.lane.fleet.settings.key_prefix)
        return (self.lane.fleet.redis.zscore(keys.parcels_due, self.parcel_id) - self.store.now()) / 1000


@pytest.fixture
def bench(idle_fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Bench]:
    fleet = idle_fleet
    monkeypatch.setenv("OPENAI_API_KEY", "sandbox")
    client, keys = connect(fleet.settings.redis_url), Keys(fleet.settings.key_prefix)
    loop, openai, objects = LoopThread(), OpenAIImages(fleet.settings), ObjectStore(fleet.settings)
    store, batches, manifests = ParcelStore(client, keys), BatchStore(client, keys), ManifestStore(objects)
    remote = RemoteBatches(openai.client)
    work = ParcelWork(
        store=store,
        batches=batches,
        manifests=manifests,
        packer=Packer(remote, loop, cast("Any", None), objects, tmp_path, threading.Event()),
        lander=cast("Any", None),
        remote=remote,
        loop=loop,
        draft=cast("Any", None),
        served=lambda _: False,
        real_time=lambda: SLOWLY,
        poll_seconds=60,
    )
    lane = Lane.on(fleet)
    line = lane.line("only")
    batch = lane.submit([line])
    path = tmp_path / "lines.jsonl"
    request = parse_request({name: value for name, value in line.items() if name != "custom_id"})
    path.write_bytes(input_line(0, "only", "gpt-image-2", request))
    record = batches.get(batch.id)
    fields: dict[str, Any] = {"batch_id": batch.id, "owner": record.owner, "endpoint": "/v1/images/generations"}
    parcel = Parcel(**fields, first=0, end=1, lines=1, reserved=1)
    assert store.ship(record, 1, [parcel]) == "shipped"
    (held,) = store.claim_due("worker-0", 1)
    input_file = loop.submit(remote.upload_lines(path)).result()
    store.note(held, {"state": "packed", "input_file": input_file}, due_ms=0)
    with OpenAI(base_url=f"{fleet.sandbox.url}/v1", api_key="sandbox", max_retries=0) as sdk:
        yield Bench(lane, store, work, batch, parcel.id, sdk)
    loop.submit(openai.close()).result()
    loop.close()
    client.close()


def test_a_batch_whose_answer_was_lost_is_found_and_followed(bench: Bench) -> None:
    bench.lane.fleet.sandbox.add_fault_at(CREATE, {"drop": "middle"})
    bench.step()
    assert (bench.parcel.state, bench.parcel.tries) == ("creating", 1)
    bench.step()
    assert (bench.parcel.state, bench.parcel.tries) == ("sent", 0)
    assert len(bench.remote()) == 1
    assert 50 < bench.due_in() <= 60


def test_a_request_that_never_arrived_is_repeated_when_nothing_has_appeared_for_long_enough(bench: Bench) -> None:
    bench.lane.fleet.sandbox.add_fault_at(CREATE, {"drop": "before"})
    bench.step()
    bench.step()
    assert (bench.parcel.state, bench.remote()) == ("creating", [])
    assert bench.due_in() <= 5
    bench.step(replace(bench.work, doubt_seconds=0.0))
    assert (bench.parcel.state, len(bench.remote())) == ("sent", 1)


def test_a_worker_that_died_before_it_noted_the_batch_leaves_one_that_is_found(bench: Bench) -> None:
    (held,) = bench.store.claim_due("worker-1", 1)
    held = bench.store.note(held, {"state": "creating", "creating_at": "now"})
    creating = bench.work.remote.create("/v1/images/generations", held.parcel.input_file or "", held.parcel.id)
    bench.work.loop.submit(creating).result()
    bench.store.note(held, {}, due_ms=0)
    bench.step(replace(bench.work, doubt_seconds=0.0))
    assert (bench.parcel.state, len(bench.remote())) == ("sent", 1)


class _Overtaken(RemoteBatches):
    """While it waits for OpenAI's answer, another worker takes the parcel and begins a batch, too."""

    def __init__(self, client: Any, store: ParcelStore) -> None:
        super().__init__(client)
        self._store = store

    async def create(self, endpoint: Endpoint, input_file_id: str, our_id: str) -> RemoteBatch:
        ours = await super().create(endpoint, input_file_id, our_id)
        theirs = await super().create(endpoint, input_file_id, our_id)
        hasty = ParcelStore(self._store._client, self._store._keys, lease_ms=0)  # pyright: ignore[reportPrivateUsage]
        hasty.renew(HeldParcel(cast("Parcel", self._store.get(our_id)), self._holder(our_id)))
        (other,) = self._store.claim_due("worker-2", 1)
        self._store.note(other, {"state": "sent", "remote_id": theirs.id}, due_ms=60_000)
        return ours

    def _holder(self, parcel_id: str) -> str:
        parcel = self._store.get(parcel_id)
        assert parcel
        assert parcel.holder
        return parcel.holder


def test_a_worker_that_was_overtaken_cancels_the_batch_that_it_began(bench: Bench) -> None:
    with bench.lane.fleet.sandbox.batches_with(step_seconds=0.5):
        openai = OpenAIImages(bench.lane.fleet.settings)
        bench.step(replace(bench.work, remote=_Overtaken(openai.client, bench.store)))
        bench.lane.fleet.eventually(lambda: sorted(bench.remote()) == ["cancelled", "completed"])
        bench.work.loop.submit(openai.close()).result()
    assert len(bench.lane.calls()) == 1


@pytest.mark.parametrize("code", ["billing_hard_limit_reached", "insufficient_quota"])
def test_a_blocked_account_costs_nothing_and_is_asked_again(bench: Bench, code: str) -> None:
    with bench.lane.fleet.sandbox.account_blocked(429, code):
        bench.step()
        bench.step()
    parcel = bench.parcel
    assert (parcel.state, parcel.tries, bench.remote()) == ("packed", 2, [])
    assert code in (parcel.trouble or "")
    assert 5 < bench.due_in() <= 10
    bench.step()
    assert (bench.parcel.state, bench.parcel.trouble) == ("sent", None)


def test_lines_that_openai_refuses_time_and_again_are_run_in_real_time(bench: Bench) -> None:
    (held,) = bench.store.claim_due("worker-1", 1)
    bench.store.note(held, {"tries": 4}, due_ms=0)
    bench.lane.fleet.sandbox.add_fault_at(CREATE, {"status": 400, "code": "model_not_supported"})
    bench.step()
    view = bench.lane.look(bench.batch)
    assert (view.at_openai, view.moved_to_real_time, view.counts.waiting) == (0, 1, 1)
    assert bench.store.get(bench.parcel_id) is None


def test_a_full_queue_at_openai_is_waited_for_and_nothing_is_begun_twice(bench: Bench) -> None:
    with bench.lane.fleet.sandbox.batches_failing("token_limit_exceeded"):
        bench.step()
        bench.lane.fleet.eventually(lambda: bench.remote() == ["failed"])
        bench.step()
    assert (bench.parcel.state, bench.parcel.remote_id) == ("packed", None)
    assert 290 < bench.due_in() <= 300
    bench.step()
    bench.lane.fleet.eventually(lambda: sorted(bench.remote()) == ["completed", "failed"])
    assert len(bench.lane.calls()) == 1


def test_a_batch_that_was_cancelled_before_it_was_sent_is_never_sent(bench: Bench) -> None:
    bench.lane.fleet.queue.batches.cancel(bench.batch.id, owner="local")
    bench.step()
    assert bench.remote() == []
    ended = bench.lane.look(bench.batch)
    assert (ended.state.value, ended.counts.cancelled, ended.counts.in_flight) == ("cancelled", 1, 0)
