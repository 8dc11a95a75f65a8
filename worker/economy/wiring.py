"""The economy lane's parts, put together for a worker."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from imagequeue.batches import Batch
from imagequeue.drafts import Drafts
from imagequeue.estimates import Pace
from imagequeue.feeding import BATCH_SHARE, draft_of
from imagequeue.jobs import NewJob
from imagequeue.manifests.lines import ManifestLine
from imagequeue.manifests.store import ManifestStore
from imagequeue.objects import ObjectStore
from imagequeue.pricing import BATCH_API_FACTOR
from imagequeue.reusing import Reusing
from imagequeue.settings import Settings
from imagequeue.store.attempts import AttemptStore
from imagequeue.store.batches import BatchStore
from imagequeue.store.connection import RedisClient
from imagequeue.store.feeding import FeedStore
from imagequeue.store.keys import Keys
from imagequeue.store.limiter import LimiterStore
from imagequeue.store.parcels import ParcelStore
from worker.economy.deadlines import RealTime
from worker.economy.economist import Economist
from worker.economy.landing import Lander, LineJobs
from worker.economy.packing import Packer
from worker.economy.parcel_work import ParcelWork
from worker.economy.remote_batches import RemoteBatches
from worker.economy.shipping import Shipper
from worker.loop import LoopThread
from worker.openai_images import OpenAIImages
from worker.runner import Runner

_LEASES: Final = 4
"""How long a parcel's lease is, in leases of jobs: nothing but other parcels waits for it."""


def make_economist(
    settings: Settings,
    client: RedisClient,
    limiter: LimiterStore,
    runner: Runner,
    drafts: Drafts,
    reusing: Reusing,
    objects: ObjectStore,
    cleanup: ExitStack,
) -> Economist:
    """An economist beside a runner, whose way from the spool on its jobs take.

    It has connections and a loop of its own: what it downloads by the hundred megabytes must not hold up the calls.
    """
    keys = Keys(settings.key_prefix)
    store = ParcelStore(client, keys, _LEASES * settings.lease_ms)
    batches, manifests = BatchStore(client, keys), ManifestStore(objects)
    feeding = FeedStore(client, keys)
    loop, openai = LoopThread(), OpenAIImages(settings)
    cleanup.callback(loop.close)
    cleanup.callback(lambda: loop.submit(openai.close()).result())
    remote = RemoteBatches(openai.client)

    def draft(batch: Batch, line: ManifestLine) -> NewJob:
        # An unknown outcome is not called again in real time: that would be paid at twice what was agreed to.
        changes = {"price_share": BATCH_API_FACTOR, "on_unknown_outcome": "fail"}
        return draft_of(drafts, batch, line).model_copy(update=changes)

    def real_time() -> RealTime:
        state, slots = limiter.state(), feeding.fleet(settings.lease_ms).slots
        pace = Pace.of(state, int(slots * BATCH_SHARE))
        return RealTime(settings.model, state.measured, pace, settings.economy_margin_seconds)

    work = ParcelWork(
        store=store,
        batches=batches,
        manifests=manifests,
        packer=Packer(remote, loop, runner.inputs, objects, runner.spool.root, runner.stopping),
        lander=Lander(
            remote=remote,
            loop=loop,
            jobs=LineJobs(store, AttemptStore(client, keys), runner.worker, settings.lease_ms),
            runner=runner,
        ),
        remote=remote,
        loop=loop,
        draft=draft,
        served=reusing.serves,
        real_time=real_time,
        poll_seconds=settings.economy_poll_seconds,
    )
    return Economist(store, Shipper(store, batches, manifests, real_time), work, runner.worker)
