"""The API process: gunicorn with threads, because most requests wait."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, Final, cast

import structlog
from gunicorn import glogging
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker

from api.app import create_app
from imagequeue.errors import ImageQueueError
from imagequeue.heap import share_arenas
from imagequeue.logs import configure_logging
from imagequeue.service import ImageQueue, open_queue
from imagequeue.settings import Settings, load_settings

GRACE_SECONDS: Final = 4
"""From SIGTERM to the end. Waiting requests are answered at once; a supervisor's own patience is often 5 s or more."""
KEEPALIVE_SECONDS: Final = 30
CONNECTIONS: Final = 2000
"""Of one process, the idle ones included; `api_threads` of them are served at once."""
_log = structlog.stdlib.get_logger(__name__)


def main() -> None:
    """Serve until SIGTERM.

    Raises:
        Misconfigured: a setting is bad, Redis would evict records, or strangers could spend money.
        StoreUnavailable: Redis does not answer.
    """
    settings = load_settings()
    configure_logging(settings)
    share_arenas()
    queue = open_queue(settings)  # what is wrong shows here, once, and not in each process
    try:
        if settings.first_key_file:
            queue.keys.ensure_first(settings.first_key_file)
        queue.keys.refuse_strangers(settings.api_host)
    finally:
        queue.close()
    ApiServer(settings).run()


class ApiServer(BaseApplication):
    """Gunicorn configured by our settings alone.

    Its `Application` class would read files and the environment, and put the current folder on `sys.path`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queue: ImageQueue | None = None
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        for name, value in _options(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Called by gunicorn in each process, after the fork: connections and threads cannot be inherited."""
        try:
            self._queue = open_queue(self._settings)
        except ImageQueueError as error:
            _log.error("cannot_serve", code=error.code, error=str(error))
            sys.exit(Arbiter.APP_LOAD_ERROR)
        return create_app(self._queue, self._settings)

    def stop_waiting(self) -> None:
        """Answer the requests that wait."""
        if self._queue:
            self._queue.stop_waiting()


class ApiWorker(ThreadWorker):
    """One process of the API."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order: called by SIGTERM."""
        super().handle_exit(sig, frame)
        # Locks are not for signal handlers: the main loop does it.
        self.method_queue.defer(cast("ApiServer", self.app).stop_waiting)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order at Ctrl-C too: requests that wait are answered then, and not cut off after the grace."""
        self.handle_exit(sig, frame)


class ServerLog(glogging.Logger):
    """Gunicorn's messages through our own logging."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn."""
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers = []
            logger.propagate = True


def _options(settings: Settings) -> Mapping[str, object]:
    return {
        "bind": f"{_url_host(settings.api_host)}:{settings.api_port}",
        "workers": settings.api_processes,
        "threads": settings.api_threads,
        "worker_class": ApiWorker,
        "worker_connections": max(CONNECTIONS, 2 * settings.api_threads),
        "keepalive": KEEPALIVE_SECONDS,
        "graceful_timeout": GRACE_SECONDS,
        "proc_name": "imagequeue api",
        "logger_class": ServerLog,
        "loglevel": settings.log_level,
        "control_socket_disable": True,  # it would write into the home folder
    }


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
