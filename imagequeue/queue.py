"""Celery: the app, its queues, and the sending of hints. A message holds a job id; the records decide."""

from __future__ import annotations

from typing import Final

import structlog
from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from imagequeue.errors import StoreUnavailable
from imagequeue.jobs import LANES, Lane
from imagequeue.settings import Settings
from imagequeue.store.connection import SOCKET_TIMEOUT_SECONDS
from imagequeue.store.jobs import JobStore

RUN_JOB: Final = "imagequeue.run_job"
ANSWER_PROBE: Final = "imagequeue.answer_probe"
ANNOUNCE: Final = "imagequeue.announce"
DELIVER: Final = "imagequeue.deliver"
MAINTENANCE: Final = "maintenance"
WEBHOOKS: Final = "webhooks"
QUEUES: Final = (WEBHOOKS, *LANES, MAINTENANCE)
"""In the order of service: a worker looks at a queue only when those before it are empty. Webhooks take few of its
slots and little time; behind the lanes they would wait for the last job of a batch."""

_log = structlog.stdlib.get_logger(__name__)


def make_celery(settings: Settings) -> Celery:
    """The Celery app. Results are ignored, and messages not acknowledged: see docs/adr."""
    app = Celery("imagequeue", broker=settings.celery_broker_url, set_as_current=False)
    app.conf.update(
        # An exchange each: queues that share one would each get every message.
        task_queues=[Queue(name, Exchange(name, type="direct"), routing_key=name, no_ack=True) for name in QUEUES],
        task_default_queue=LANES[0],
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_acks_late=False,
        # A worker takes a message only when a slot is free: what it would hoard, others could run,
        # and an interactive job would wait behind hoarded batch jobs.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # Running calls are paid for: a lost broker connection must not cancel them.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # however long the broker is away
        broker_transport_options={
            "queue_order_strategy": "priority",
            "global_keyprefix": settings.key_prefix,
            "socket_timeout": SOCKET_TIMEOUT_SECONDS,
            "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
        },
    )
    return app


class Dispatcher:
    """Sends hints. Without its hint a job waits in the outbox until a sweep sends it."""

    def __init__(self, app: Celery, store: JobStore) -> None:
        self._app = app
        self._store = store

    def dispatch(self, job_id: str, lane: Lane) -> None:
        """Send a job's hint and clear its outbox entry; when either fails, a sweep will do it."""
        try:
            self._send(RUN_JOB, job_id, lane)
            self._store.sent(job_id)
        except StoreUnavailable as error:
            _log.warning("hint_left_in_outbox", job=job_id, error=str(error))

    def announce(self, subject: str) -> None:
        """Have the end of a record told to webhooks; what fails here, a sweep will do."""
        self._hint(ANNOUNCE, subject)

    def deliver(self, receiver: str) -> None:
        """Have a receiver's webhooks delivered that are due; what fails here, a sweep will do."""
        self._hint(DELIVER, receiver)

    def send_probe(self, nonce: str) -> None:
        """Ask any worker to answer `nonce` in the store: it proves the way of messages.

        Raises:
            StoreUnavailable: the broker did not take the message.
        """
        self._send(ANSWER_PROBE, nonce, MAINTENANCE)

    def backlog(self, queue: str) -> int:
        """How many hints of a lane, or of another queue, wait in the broker.

        Raises:
            StoreUnavailable: the broker does not answer.
        """
        try:
            with self._app.connection_or_acquire() as connection:
                # Not `passive`: kombu then looks for the queue without the prefix of its keys, and finds none.
                return connection.default_channel.queue_declare(queue).message_count
        except (OperationalError, OSError) as error:
            raise StoreUnavailable(f"The broker does not answer: {error}") from error

    def close(self) -> None:
        """Close the connections to the broker."""
        self._app.close()

    def _hint(self, task: str, argument: str) -> None:
        try:
            self._send(task, argument, WEBHOOKS)
        except StoreUnavailable as error:
            _log.warning("hint_left_to_the_sweeper", task=task, about=argument, error=str(error))

    def _send(self, task: str, argument: str, queue: str) -> None:
        try:
            self._app.send_task(task, args=[argument], queue=queue, retry=False, ignore_result=True)
        except (OperationalError, OSError) as error:
            raise StoreUnavailable(f"The broker does not take messages: {error}") from error
