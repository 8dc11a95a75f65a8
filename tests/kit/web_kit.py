"""Web servers on loopback that behave well or badly, and count who connects."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

Conversation = Callable[[socket.socket, threading.Event], None]
"""What a server does with a connection whose request was read; it ends at the event at the latest."""


@dataclass
class WebServer:
    """A server that answers each path by its conversation."""

    port: int
    scheme: str = "http"
    pages: dict[str, Conversation] = field(default_factory=dict[str, Conversation])
    requests: list[str] = field(default_factory=list[str])
    connections: int = 0

    @property
    def origin(self) -> str:
        """Its address."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def serve(self, path: str, conversation: Conversation) -> str:
        """Answer `path` so from now on; gives its URL."""
        self.pages[path] = conversation
        return f"{self.origin}{path}"


def answer(body: bytes, status: int = 200, **headers: str) -> Conversation:
    """A whole answer; header names with underscores for hyphens."""
    named = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in named.items())]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def redirect(location: str, status: int = 302) -> Conversation:
    """A redirect."""
    return answer(b"", status, Location=location)


def raw(content: bytes) -> Conversation:
    """Exactly these bytes, then the end."""

    def talk(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(content)

    return talk


def dripping(head: bytes, drop: bytes, every_seconds: float) -> Conversation:
    """These bytes, then a drop again and again without an end."""

    def talk(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(head)
        while not stop.wait(every_seconds):
            connection.sendall(drop)

    return talk


@contextmanager
def running_web(tls: ssl.SSLContext | None = None) -> Generator[WebServer]:
    """Serve on a free loopback port until the block ends."""
    stop = threading.Event()
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = WebServer(listener.getsockname()[1], "https" if tls else "http")

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # closed below
                    return
                if stop.is_set():
                    connection.close()
                    return
                server.connections += 1
                threads.append(threading.Thread(target=_converse, args=(server, connection, tls, stop)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            stop.set()
            socket.create_connection(("127.0.0.1", server.port)).close()
            for thread in (accepting, *threads):
                thread.join(10)


def _converse(server: WebServer, connection: socket.socket, tls: ssl.SSLContext | None, stop: threading.Event) -> None:
    try:
        with connection, tls.wrap_socket(connection, server_side=True) if tls else connection as speaking:
            head = b""
            while b"\r\n\r\n" not in head and (received := speaking.recv(65_536)):
                head += received
            request = head.decode("latin-1")
            server.requests.append(request)
            path = request.split(" ")[1]
            server.pages[path](speaking, stop)
    except (OSError, IndexError):  # the client went away
        return
