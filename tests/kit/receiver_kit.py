"""A real HTTP server that receives webhooks, path by path, and answers as a test wants."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from standardwebhooks import Webhook

PATIENCE_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Received:
    """One request: header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def verified(self, secret: str) -> dict[str, Any]:
        """The body, once its signature and its time were found good by the specification's own library."""
        return Webhook(secret).verify(self.body, dict(self.headers))

    @property
    def id(self) -> str:
        """The id of the event."""
        return self.headers["webhook-id"]

    @property
    def about(self) -> str:
        """The id of the job."""
        return json.loads(self.body)["data"]["id"]


@dataclass(frozen=True)
class Reply:
    """How a path answers."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    silent: bool = False  # no answer until `let_go`


class Receiver:
    """Answers 200 where nothing else was laid out."""

    def __init__(self, port: int = 0) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._replies: dict[str, Reply] = {}
        self._changed = threading.Condition()
        self._received: dict[str, list[Received]] = defaultdict(list)
        self._let_go = threading.Event()
        self.origin = f"http://127.0.0.1:{self._server.server_port}"

    def answering(self, path: str, status: int = 200, *, silent: bool = False, **headers: str) -> str:
        """Let `path` answer so from now on; its URL. Header names have underscores for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._replies[path] = Reply(status, named, silent)
        return f"{self.origin}{path}"

    def let_go(self) -> None:
        """Answer whoever waits at a silent path."""
        self._let_go.set()
        self._let_go = threading.Event()

    def received(self, path: str) -> list[Received]:
        """What has come to a path so far."""
        with self._changed:
            return list(self._received[path])

    def wait(self, path: str, count: int = 1) -> list[Received]:
        """What has come to a path, once that is so much."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self._received[path]) >= count, PATIENCE_SECONDS)
            assert enough, f"{path} received {len(self._received[path])} of {count} webhooks"
            return list(self._received[path])

    @contextmanager
    def serving(self) -> Generator[Receiver]:
        """Serve while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.let_go()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def take(self, received: Received) -> Reply:
        """Called for each request."""
        let_go = self._let_go
        reply = self._replies.get(received.path, Reply())
        with self._changed:
            self._received[received.path].append(received)
            self._changed.notify_all()
        if reply.silent:
            let_go.wait(PATIENCE_SECONDS)
        return reply


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = receiver.take(Received(self.path, headers, body))
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:  # the sender is gone
                return

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler
