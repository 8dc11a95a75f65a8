"""Flower, Celery's own monitor: the workers and their messages, for whoever operates them."""

from __future__ import annotations

import os
from importlib.util import find_spec

from imagequeue.errors import Misconfigured
from imagequeue.queue import make_celery
from imagequeue.settings import load_settings


def main(*, host: str, port: int) -> None:
    """Serve Flower until SIGTERM; it takes its own settings from FLOWER_*.

    It is started with our Celery app, because messages and events are under the installation's key prefix, which the
    broker's address alone does not tell. While it runs it has the workers send events; nobody else asks for them.

    Raises:
        Misconfigured: Flower is not installed, a setting is bad, or nobody is named who may look.
    """
    if find_spec("flower") is None:
        raise Misconfigured("Flower is not installed here: pip install 'imagequeue[flower]'")
    _refuse_to_be_open()
    app = make_celery(load_settings())
    # What it could do to workers by hand, they do by themselves, and jobs are cancelled by the API.
    reading = [] if "FLOWER_READ_ONLY" in os.environ else ["--read_only=true"]
    app.start(["flower", f"--address={host}", f"--port={port}", *reading])


def _refuse_to_be_open() -> None:
    named = os.environ.get("FLOWER_BASIC_AUTH", "")
    pairs = [pair.partition(":") for pair in named.split(",")]
    if not os.environ.get("FLOWER_AUTH") and not all(name and password for name, _, password in pairs):
        raise Misconfigured("FLOWER_BASIC_AUTH: set it to NAME:PASSWORD, several separated by commas.")
