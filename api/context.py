"""What a view needs of its application."""

from __future__ import annotations

from typing import Final, cast

from flask import Flask, current_app, g

from imagequeue.api_keys import Caller
from imagequeue.service import ImageQueue
from imagequeue.settings import Settings

_QUEUE: Final = "imagequeue.queue"
_SETTINGS: Final = "imagequeue.settings"


def attach(app: Flask, queue: ImageQueue, settings: Settings) -> None:
    """Make the queue and the settings known to the views of `app`."""
    app.extensions[_QUEUE] = queue
    app.extensions[_SETTINGS] = settings


def the_queue() -> ImageQueue:
    """The queue behind the current application."""
    return cast("ImageQueue", current_app.extensions[_QUEUE])


def the_settings() -> Settings:
    """The settings of the current application."""
    return cast("Settings", current_app.extensions[_SETTINGS])


def the_owner() -> str:
    """Whose records the current request may see and make; everybody else's do not exist for it."""
    return the_caller().owner


def the_caller() -> Caller:
    """Who asks, as authentication has found out."""
    return cast("Caller", g.caller)


def request_id() -> str:
    """The id of the current request, as its answer's X-Request-Id and the log have it."""
    return cast("str", g.request_id)
