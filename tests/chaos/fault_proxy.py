"""TCP proxies that can be told to misbehave: one link for each pair of parts, all in one thread of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from sandbox.stack.ports import HOST, choose_port

LINK_HOST: Final = f"127.{64 + os.getpid() // 250 % 64}.{os.getpid() % 250}.1" if sys.platform == "linux" else HOST
"""On Linux an address of this process's own, so that nobody else takes the port of a link while it is cut."""
_CHUNK_BYTES: Final = 65_536
_LINGER_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 seconds: closing the socket sends RST and drops what was not delivered."""

Result = TypeVar("Result")


class Mode(StrEnum):
    """What a link does with its connections."""

    PASS = "pass"
    CUT = "cut"  # connections are reset, new ones refused
    PAUSE = "pause"  # connections are accepted, and not a byte passes
    SLOW = "slow"  # every chunk comes late
    DROP = "drop"  # new connections are accepted and ended at once, as by a balancer whose servers are gone


@dataclass(frozen=True, slots=True)
class _Connection:
    near: asyncio.StreamWriter
    far: asyncio.StreamWriter

    def reset(self) -> None:
        """End both sides with RST."""
        for writer in (self.near, self.far):
            with contextlib.suppress(OSError):
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            writer.transport.abort()


@dataclass(eq=False)
class Link:
    """One way from a part to another. Only to be touched on the proxy's loop; others go through `FaultProxy`."""

    name: str
    port: int
    target_port: int
    mode: Mode = Mode.PASS
    delay_seconds: float = 0.0  # of each chunk while the mode is SLOW
    accepted: int = 0
    _closed: bool = False
    _server: asyncio.Server | None = None
    _open: set[_Connection] = field(default_factory=set[_Connection])
    _writers: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])
    _serving: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _may_pass: asyncio.Event = field(default_factory=asyncio.Event)

    async def set_mode(self, mode: Mode, delay_seconds: float = 0.0) -> None:
        """Change what happens from now on; a cut or drop resets the connections that are open."""
        self.mode, self.delay_seconds = mode, delay_seconds
        if mode is Mode.PAUSE:
            self._may_pass.clear()
        else:
            self._may_pass.set()
        if mode in (Mode.CUT, Mode.DROP):
            self.reset()
        if mode is Mode.CUT:
            await self._stop_listening()
        elif self._server is None:
            self._server = await asyncio.start_server(self._accept, LINK_HOST, self.port, limit=_CHUNK_BYTES)

    def reset(self) -> None:
        """Reset the connections that are open now."""
        for connection in tuple(self._open):
            connection.reset()

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        for listening in server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        await asyncio.sleep(0)  # what was accepted just now is attached to the server, and lost if that has closed
        server.close()

    async def close(self) -> None:
        """End everything at once, also what still has bytes to deliver: no transport is left for the collector."""
        self._closed = True
        await self.set_mode(Mode.CUT)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        """Called with the connection, and not as a task of its own: none may be forgotten before it is served."""
        self.accepted += 1
        if self._closed:  # it came while everything was being ended
            near.transport.abort()
            return
        self._writers.add(near)
        task = asyncio.ensure_future(self._serve(near_reader, near))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        if self.mode is Mode.DROP:
            near.transport.abort()
            return
        try:
            far_reader, far = await asyncio.open_connection(HOST, self.target_port, limit=_CHUNK_BYTES)
        except OSError:  # nobody listens: what a client of a dead server sees
            near.transport.abort()
            return
        self._writers.add(far)
        connection = _Connection(near, far)
        self._open.add(connection)
        pumps = [asyncio.ensure_future(self._pump(*ends)) for ends in ((near_reader, far), (far_reader, near))]
        try:
            # Whoever ends first ends both: none of the protocols here uses half-closed connections.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._open.discard(connection)
            near.close()
            far.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if self.mode is Mode.SLOW:
                    await asyncio.sleep(self.delay_seconds)
                await self._may_pass.wait()
                writer.write(chunk)
                await writer.drain()
        await self._may_pass.wait()  # a paused link does not tell of an end either


class FaultProxy:
    """All links of a stack, served by one thread from `start` to `close`. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._links: dict[str, Link] = {}

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cut all links and end the thread."""
        for link in self._links.values():
            self._run(link.close())
        self._run(_settled())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add(self, name: str, target_port: int) -> int:
        """Open a link to a port of the loopback address; gives the port of LINK_HOST that leads there."""
        link = Link(name, choose_port(), target_port)
        self._run(link.set_mode(Mode.PASS))
        self._links[name] = link
        return link.port

    def set_mode(self, name: str, mode: Mode, delay_seconds: float = 0.0) -> None:
        """Change one link; `delay_seconds` is for SLOW."""
        self._run(self._links[name].set_mode(mode, delay_seconds))

    def reset(self, name: str) -> None:
        """Reset the connections that are open on a link; new ones pass."""
        self._run(_called(self._links[name].reset))

    def heal(self) -> None:
        """Let every link pass."""
        for name in self._links:
            self.set_mode(name, Mode.PASS)

    @property
    def names(self) -> tuple[str, ...]:
        """All links."""
        return tuple(self._links)

    def accepted(self, name: str) -> int:
        """How many connections a link has accepted."""
        return self._links[name].accepted

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _called(function: Callable[[], None]) -> None:
    function()


async def _settled() -> None:
    """Wait until the connections' tasks have ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for _ in range(3):  # transports tell of their end one turn of the loop later
        await asyncio.sleep(0)
