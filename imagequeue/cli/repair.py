"""`imagequeue doctor --repair`: one sweep by hand, for when no worker is there to do it."""

from __future__ import annotations

import threading
from contextlib import closing

from imagequeue.cli.checks import Check, Verdict
from imagequeue.cli.surroundings import Surroundings
from imagequeue.errors import ImageQueueError
from imagequeue.logs import configure_logging
from imagequeue.queue import Dispatcher, make_celery
from imagequeue.settings import Settings
from imagequeue.store.attempts import AttemptStore, RetryLimits
from imagequeue.store.connection import RedisClient, connect
from imagequeue.store.keys import Keys
from imagequeue.store.sessions import SessionStore
from imagequeue.sweeping import Sweep

_MEND = "Check IMAGEQUEUE_REDIS_URL and IMAGEQUEUE_BROKER_URL."


def repair_check(around: Surroundings) -> Check:
    """Sweep, and tell what was set right."""
    if not around.services_known:
        mend = "Set IMAGEQUEUE_REDIS_URL, or run it where the workers' variables are set."
        return Check("repair", Verdict.SKIPPED, "not done: Redis is not known here", mend)
    configure_logging(around.settings)  # what a sweep logs does not belong among the findings
    try:
        with closing(connect(around.settings.redis_url)) as client:
            mended = _swept(around.settings, client)
    except ImageQueueError as error:
        return Check("repair", Verdict.WRONG, str(error), _MEND)
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(mended.items()) if count)
    return Check("repair", Verdict.OK, found or "nothing had to be set right")


def _swept(settings: Settings, client: RedisClient) -> dict[str, int]:
    """Sweep once; once more when leases had to be spared, because nobody had swept for a while."""
    keys = Keys(settings.key_prefix)
    store = AttemptStore(client, keys, RetryLimits.of(settings))
    with closing(Dispatcher(make_celery(settings), store)) as dispatcher:
        sweep = Sweep(
            store,
            SessionStore(client, keys),
            dispatcher,
            lease_ms=settings.lease_ms,
            session_idle_ms=settings.session_idle_ms,
            outbox_age_ms=0,
            lost_after_sweeps=1,
        )
        if spared_ms := sweep.run():
            threading.Event().wait(spared_ms / 1000)
            sweep.run()
        return dict(sweep.mended)
