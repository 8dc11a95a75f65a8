"""Bare Celery, as one would use it for work whose results are ignored: the app, and its worker as a program."""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery

app = Celery("bare", broker=os.environ.get("BARE_BROKER_URL", ""), set_as_current=False)
app.conf.update(task_ignore_result=True, task_default_queue="bare", worker_hijack_root_logger=False)


@app.task(name="bare.no_op")
def no_op() -> None:
    """Do nothing."""


def is_idle(redis: Any) -> bool:
    """Whether all messages were taken and acknowledged."""
    return not redis.llen("bare") and not redis.hlen("unacked")


def main() -> None:
    """Run a worker: `bare_celery.py SLOTS`."""
    worker = app.Worker(
        pool="threads", concurrency=int(sys.argv[1]), loglevel="ERROR", without_mingle=True, without_gossip=True
    )
    worker.start()


if __name__ == "__main__":
    main()
