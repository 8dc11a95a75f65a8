"""The worker process: everything is wired here."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

import stamina
import structlog
from celery import Celery
from celery.signals import setup_logging, worker_shutting_down

from imagequeue.batch_records import BatchRecords
from imagequeue.drafts import Drafts
from imagequeue.errors import ObjectsUnavailable
from imagequeue.feeding import Feed
from imagequeue.heap import share_arenas
from imagequeue.inputs import InputStore
from imagequeue.job_records import JobRecords
from imagequeue.logs import configure_logging
from imagequeue.manifests.store import ManifestStore
from imagequeue.objects import ObjectStore
from imagequeue.queue import QUEUES, Dispatcher, make_celery
from imagequeue.retention import Retention
from imagequeue.reusing import Reusing
from imagequeue.settings import Settings, load_settings
from imagequeue.sources import Sources
from imagequeue.store.archive import ArchiveStore
from imagequeue.store.attempts import AttemptStore, RetryLimits
from imagequeue.store.batches import BatchStore
from imagequeue.store.connection import RedisClient, connect, refuse_eviction
from imagequeue.store.feeding import FeedStore
from imagequeue.store.fleet import FleetStore
from imagequeue.store.input_uses import InputUses
from imagequeue.store.keys import Keys
from imagequeue.store.limiter import LimiterStore
from imagequeue.store.reuse import ReuseStore
from imagequeue.store.sessions import SessionStore
from imagequeue.store.webhook_deliveries import WebhookDeliveryStore
from imagequeue.store.webhooks import WebhookStore
from imagequeue.sweeping import Sweep
from imagequeue.waiting import ChangeReader
from imagequeue.webhook_service import WebhookService
from worker.calls import CallsInFlight
from worker.economy.wiring import make_economist
from worker.edit_routes import EditRoutes
from worker.endings import Endings
from worker.feeder import Feeder
from worker.granter import Granter
from worker.heartbeat import Heartbeat
from worker.housekeeper import Housekeeper
from worker.inputs import InputGatherer
from worker.loop import LoopThread
from worker.openai_images import OpenAIImages
from worker.outputs import OutputStore
from worker.previews import PreviewStore
from worker.responses_route import edit_by_responses
from worker.runner import Runner
from worker.salvager import Salvager
from worker.shutdown import Shutdown
from worker.slots import SlotPool
from worker.spool import Spool
from worker.sweeper import Sweeper
from worker.tasks import register_tasks
from worker.webhook_post import Poster
from worker.webhooks import Courier, WebhookSweep, batch_events, job_events

_CHANGES_PAUSE_SECONDS: Final = 0.01
"""A worker looks for cancelled jobs and for places of batches: neither is in a hurry."""
_log = structlog.stdlib.get_logger(__name__)


def main() -> None:
    """Run a worker until SIGTERM; it then takes no new jobs and finishes the calls in flight.

    A second SIGTERM, or the end of the grace, closes them: their outcome is unknown, and the records say so.

    Raises:
        Misconfigured: a setting is bad, or Redis would evict records.
        StoreUnavailable: Redis does not answer.
    """
    settings = load_settings()
    configure_logging(settings)
    setup_logging.connect(_keep_our_logging, weak=False)
    share_arenas()
    client = connect(settings.redis_url)
    refuse_eviction(client)
    with ExitStack() as cleanup:
        _serve(settings, _Stores.on(client, settings), cleanup)


def _keep_our_logging(**_: object) -> None:
    """Celery asks here before it sets up logging of its own; its two lines a task say less than our one."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class _Stores:
    """The records, as a worker uses them."""

    client: RedisClient
    keys: Keys
    jobs: AttemptStore
    sessions: SessionStore
    fleet: FleetStore
    limiter: LimiterStore
    input_uses: InputUses
    webhooks: WebhookStore
    deliveries: WebhookDeliveryStore
    changes: ChangeReader

    @classmethod
    def on(cls, client: RedisClient, settings: Settings) -> _Stores:
        """The stores of one Redis."""
        keys = Keys(settings.key_prefix)
        rates = settings.rate_limits
        return cls(
            client=client,
            keys=keys,
            jobs=AttemptStore(client, keys, RetryLimits.of(settings), rates),
            sessions=SessionStore(client, keys),
            fleet=FleetStore(client, keys),
            limiter=LimiterStore(client, keys, rates),
            input_uses=InputUses(client, keys),
            webhooks=WebhookStore(client, keys),
            deliveries=WebhookDeliveryStore(client, keys),
            changes=ChangeReader(connect(settings.redis_url, max_connections=1), keys.changes, _CHANGES_PAUSE_SECONDS),
        )


def _serve(settings: Settings, stores: _Stores, cleanup: ExitStack) -> None:
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    cleanup.callback(stores.changes.close)
    app = make_celery(settings)
    dispatcher = Dispatcher(app, stores.jobs)
    heartbeat = Heartbeat(stores.jobs, stores.fleet, name, settings.lease_ms, settings.worker_slots)
    granter = Granter(stores.limiter, dispatcher)
    sweep = Sweep(
        stores.jobs,
        stores.sessions,
        dispatcher,
        lease_ms=settings.lease_ms,
        session_idle_ms=settings.session_idle_ms,
    )
    objects = ObjectStore(settings)
    runner = _runner(settings, stores, objects, name, dispatcher, heartbeat, granter, cleanup)
    shutdown = Shutdown(runner.stopping, runner.endings.giving_up, runner.calls, settings.shutdown_grace_seconds)
    worker_shutting_down.connect(shutdown.on_signal, weak=False)
    records = JobRecords(stores.jobs, ArchiveStore(stores.client, stores.keys), objects)
    cleanup.callback(records.close)
    batches = BatchRecords(BatchStore(stores.client, stores.keys), objects)
    courier = Courier(
        {"job": job_events(records), "batch": batch_events(batches)},
        stores.webhooks,
        stores.deliveries,
        dispatcher,
        Poster(settings),
        settings.worker_slots,
        runner.stopping,
    )
    register_tasks(app, runner, courier, stores.fleet)
    sources = Sources(InputStore(objects, settings, stores.input_uses), records)
    drafts = Drafts(settings, sources, WebhookService(settings, stores.webhooks, stores.deliveries, dispatcher))
    reusing = Reusing(ReuseStore(stores.client, stores.keys, stores.jobs), records, objects)
    helpers = (
        heartbeat,
        Sweeper(sweep, WebhookSweep(stores.deliveries, dispatcher), stores.fleet, name),
        granter,
        Salvager(runner.spool, stores.jobs, records, runner, settings.lease_ms),
        _feeder(settings, stores, drafts, reusing, objects, dispatcher, name),
        make_economist(settings, stores.client, stores.limiter, runner, drafts, reusing, objects, cleanup),
        Housekeeper(Retention.on(stores.client, settings, objects, records), stores.fleet, name),
    )
    for helper in helpers:
        helper.start()
        cleanup.callback(helper.close)
    _work(app, settings, name)


def _runner(
    settings: Settings,
    stores: _Stores,
    objects: ObjectStore,
    name: str,
    dispatcher: Dispatcher,
    heartbeat: Heartbeat,
    granter: Granter,
    cleanup: ExitStack,
) -> Runner:
    openai = OpenAIImages(settings)
    for attempt in stamina.retry_context(on=ObjectsUnavailable, attempts=None, timeout=None):
        with attempt:  # a worker that starts during an outage waits for S3, as does what it left on its disk
            objects.ensure_bucket()
    loop = LoopThread()
    cleanup.callback(loop.close)
    cleanup.callback(lambda: loop.submit(openai.close()).result())
    outputs = OutputStore(objects)
    cleanup.callback(outputs.close)
    endings = Endings(
        settings=settings,
        store=stores.jobs,
        limiter=stores.limiter,
        granter=granter,
        outputs=outputs,
        dispatcher=dispatcher,
        giving_up=threading.Event(),
    )
    previews = PreviewStore(stores.jobs, objects)
    cleanup.callback(previews.close)
    by_responses = partial(edit_by_responses, openai.client, settings.responses_model)
    return Runner(
        settings=settings,
        worker=name,
        store=stores.jobs,
        inputs=InputGatherer(InputStore(objects, settings, stores.input_uses), objects, stores.sessions),
        openai=openai,
        edits=EditRoutes(openai.edit, by_responses, stores.fleet),
        previews=previews,
        spool=Spool(settings.spool_dir, settings.spool_min_free_bytes),
        calls=CallsInFlight(loop),
        endings=endings,
        granter=granter,
        heartbeat=heartbeat,
        changes=stores.changes,
        stopping=threading.Event(),
    )


def _feeder(
    settings: Settings,
    stores: _Stores,
    drafts: Drafts,
    reusing: Reusing,
    objects: ObjectStore,
    dispatcher: Dispatcher,
    name: str,
) -> Feeder:
    store, batches = FeedStore(stores.client, stores.keys), BatchStore(stores.client, stores.keys)
    feed = Feed(store, batches, ManifestStore(objects), drafts, reusing, dispatcher, lease_ms=settings.lease_ms)
    return Feeder(feed, store, stores.changes, name)


def _work(app: Celery, settings: Settings, name: str) -> None:
    worker = app.Worker(
        hostname=f"{name}@imagequeue",
        pool=SlotPool,
        concurrency=settings.worker_slots,
        queues=QUEUES,
        loglevel=settings.log_level.upper(),
        without_mingle=True,
        without_gossip=True,
    )
    _log.info("worker_starts", worker=name, slots=settings.worker_slots)
    worker.start()
    _log.info("worker_stopped", worker=name)
