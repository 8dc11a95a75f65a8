"""The worker process: everything is wired here."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from contextlib import ExitStack
from functools import partial

import structlog
from celery.signals import setup_logging, worker_shutting_down

from imagequeue.inputs import InputStore
from imagequeue.logs import configure_logging
from imagequeue.objects import ObjectStore
from imagequeue.queue import QUEUES, Dispatcher, make_celery
from imagequeue.settings import Settings, load_settings
from imagequeue.store.connection import RedisClient, connect, refuse_eviction
from imagequeue.store.fleet import FleetStore
from imagequeue.store.jobs import JobStore, RetryLimits
from imagequeue.store.keys import Keys
from imagequeue.store.sessions import SessionStore
from imagequeue.waiting import ChangeReader
from worker.edit_routes import EditRoutes
from worker.heartbeat import Heartbeat
from worker.inputs import InputGatherer
from worker.loop import LoopThread
from worker.openai_images import OpenAIImages
from worker.outputs import OutputStore
from worker.responses_route import edit_by_responses
from worker.runner import Runner
from worker.sweeper import Sweeper
from worker.tasks import register_tasks

_log = structlog.stdlib.get_logger(__name__)


def main() -> None:
    """Run a worker until SIGTERM; it then takes no new jobs and finishes the calls in flight.

    Raises:
        Misconfigured: a setting is bad, or Redis would evict records.
        StoreUnavailable: Redis does not answer.
    """
    settings = load_settings()
    configure_logging(settings)
    setup_logging.connect(_keep_our_logging, weak=False)
    client = connect(settings.redis_url)
    refuse_eviction(client)
    with ExitStack() as cleanup:
        _serve(settings, client, Keys(settings.key_prefix), cleanup)


def _keep_our_logging(**_: object) -> None:
    """Celery asks here before it sets up logging of its own; its two lines a task say less than our one."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _stop_claiming(stopping: threading.Event, **_: object) -> None:
    stopping.set()


def _serve(settings: Settings, client: RedisClient, keys: Keys, cleanup: ExitStack) -> None:
    limits = RetryLimits(losses=settings.max_worker_losses, unknowns=settings.unknown_retries)
    store, fleet, sessions = JobStore(client, keys, limits), FleetStore(client, keys), SessionStore(client, keys)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    openai = OpenAIImages(settings)
    objects = ObjectStore(settings)
    objects.ensure_bucket()
    loop = LoopThread()
    cleanup.callback(loop.close)
    cleanup.callback(lambda: loop.submit(openai.close()).result())
    changes = ChangeReader(connect(settings.redis_url, max_connections=1), keys.changes)
    cleanup.callback(changes.close)
    app = make_celery(settings)
    dispatcher = Dispatcher(app, store)
    heartbeat = Heartbeat(store, fleet, name, settings.lease_ms)
    sweeper = Sweeper(store, sessions, fleet, dispatcher, name, settings.session_idle_ms)
    runner = Runner(
        settings=settings,
        worker=name,
        store=store,
        outputs=OutputStore(objects),
        inputs=InputGatherer(InputStore(objects, settings), objects, sessions),
        openai=openai,
        edits=EditRoutes(openai.edit, partial(edit_by_responses, openai.client, settings.responses_model), fleet),
        dispatcher=dispatcher,
        loop=loop,
        heartbeat=heartbeat,
        changes=changes,
        stopping=threading.Event(),
    )
    # Celery goes on receiving for up to a second after the signal.
    worker_shutting_down.connect(partial(_stop_claiming, runner.stopping), weak=False)
    register_tasks(app, runner, fleet)
    heartbeat.start()
    cleanup.callback(heartbeat.close)
    sweeper.start()
    cleanup.callback(sweeper.close)
    worker = app.Worker(
        hostname=f"{name}@imagequeue",
        pool="threads",
        concurrency=settings.worker_slots,
        queues=QUEUES,
        loglevel=settings.log_level.upper(),
        without_mingle=True,
        without_gossip=True,
    )
    _log.info("worker_starts", worker=name, slots=settings.worker_slots)
    worker.start()
    _log.info("worker_stopped", worker=name)
