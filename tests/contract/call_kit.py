"""The worker's own call, and servers on the loopback address that fail it in the ways that the sandbox cannot."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from imagequeue.errors import ProviderError
from imagequeue.jobs import Job, JobState, NewJob
from imagequeue.objects import ObjectStore
from imagequeue.requests import parse_request
from imagequeue.settings import Settings
from sandbox.stack.ports import HOST, choose_port
from worker.edit_order import EditOrder, LocalImage
from worker.openai_images import OpenAIImages
from worker.outputs import OutputStore
from worker.previews import Preview

Wire = Callable[[], AbstractAsyncContextManager[str]]
"""A server for one call; it gives its base URL."""
T = TypeVar("T")

_LONG_UPLOAD_BYTES: Final = 32 * 1024 * 1024
"""More than the sockets and the reader of both sides buffer."""
_HEAD_END: Final = b"\r\n\r\n"
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that the client waits: for anything, and for a connection."""

    silence: float = 30.0
    connect: float = 10.0


PATIENT: Final = Patience()
HASTY: Final = Patience(silence=0.3)
HASTY_TO_CONNECT: Final = Patience(connect=0.3)


def no_previews(preview: Preview) -> None:
    """Takes the previews of calls that ask for none."""
    raise AssertionError(f"nobody asked for {preview}")


def claimed_job() -> Job:
    """A running job for one small image."""
    new = NewJob(
        request=parse_request({"prompt": "A lighthouse", "quality": "low", "size": "1024x1024"}),
        owner="tester",
        lane="interactive",
        model="gpt-image-2",
        on_unknown_outcome="retry",
    )
    return Job(
        **new.model_dump(exclude={"request"}),
        type="generate",
        request=new.request,
        fingerprint=new.fingerprint,
        estimate=new.estimate,
        state=JobState.RUNNING,
        created_at=1,
        attempt=1,
    )


class Caller:
    """Makes calls as a worker does, on a loop of its own, and gives back what they fail with."""

    def __init__(self, environment: pytest.MonkeyPatch, folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._runner = asyncio.Runner()
        self._clients: dict[Patience, OpenAIImages] = {}
        for name in os.environ:
            if name.lower().endswith("_proxy"):
                environment.delenv(name)
        environment.setenv("OPENAI_API_KEY", "sk-test-0123456789")
        self._outputs = OutputStore(ObjectStore(Settings()))

    def generate(self, server: str | Wire, patience: Patience, folder: Path | None = None) -> ProviderError:
        """The failure of text to image, from the request to the image in S3."""

        async def whole_way(openai: OpenAIImages) -> None:
            job = claimed_job()
            painted = await openai.generate(job, folder or self._folder, no_previews)
            await asyncio.to_thread(self._outputs.store, job, painted, "png")

        return self._failure(server, patience, whole_way)

    def edit(self, server: str | Wire, patience: Patience) -> ProviderError:
        """The failure of an edit whose upload takes a while."""
        upload = self._folder / "long-upload.png"
        with upload.open("wb") as file:
            file.truncate(_LONG_UPLOAD_BYTES)
        order = EditOrder(
            model="gpt-image-2",
            prompt="A lighthouse",
            images=(LocalImage(upload, "image/png"),),
            mask=None,
            size="1024x1024",
            quality="low",
            n=1,
            background="auto",
            output_format="png",
            output_compression=None,
            user=None,
            client_request_id="job_1-1",
        )
        return self._failure(server, patience, lambda openai: openai.edit(order, self._folder, no_previews))

    def close(self) -> None:
        """Close all connections."""
        for openai in self._clients.values():
            self._run(openai.close())
        self._runner.close()

    def _failure(
        self, server: str | Wire, patience: Patience, call: Callable[[OpenAIImages], Awaitable[object]]
    ) -> ProviderError:
        openai = self._clients.get(patience) or self._connected(patience)

        async def fail() -> None:
            async with contextlib.nullcontext(server) if isinstance(server, str) else server() as base_url:
                openai.client.base_url = base_url
                await call(openai)

        with pytest.raises(ProviderError) as raised:
            self._run(fail())
        return raised.value

    def _connected(self, patience: Patience) -> OpenAIImages:
        self._environment.setenv("IMAGEQUEUE_OPENAI_TIMEOUT_SECONDS", str(patience.silence))
        self._environment.setattr("worker.openai_images._CONNECT_TIMEOUT_SECONDS", patience.connect)
        self._clients[patience] = OpenAIImages(Settings())
        return self._clients[patience]

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _serving(behave: Behaviour, scheme: str) -> AsyncGenerator[str]:
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        serving.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await behave(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield f"{scheme}://{HOST}:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)


def closed_port() -> AbstractAsyncContextManager[str]:
    """Nobody listens."""
    return contextlib.nullcontext(f"http://{HOST}:{choose_port()}/v1")


def other_protocol() -> AbstractAsyncContextManager[str]:
    """A URL that no request can be sent to."""
    return contextlib.nullcontext(f"ftp://{HOST}/v1")


def answering(status: str, body: bytes, *headers: str, missing: int = 0) -> Wire:
    """One answer to the request; `missing` bytes of its body never come."""
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body) + missing}", "connection: close", *headers]
    answer = "\r\n".join(head).encode() + _HEAD_END + body

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(_HEAD_END)
        length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return lambda: _serving(behave, "http")


async def _read_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()  # what nobody takes from the reader soon stops the sender


def deaf() -> AbstractAsyncContextManager[str]:
    """Connections are made, and what is sent is not read."""
    return _serving(_read_nothing, "http")


def deaf_to_tls() -> AbstractAsyncContextManager[str]:
    """Connections are made, and a TLS handshake is not answered."""
    return _serving(_read_nothing, "https")


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 smtp.test ready\r\n")
    await writer.drain()


def no_tls() -> AbstractAsyncContextManager[str]:
    """A TLS handshake is answered with something else."""
    return _serving(_greet, "https")


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(_HEAD_END)
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)


def resetting() -> AbstractAsyncContextManager[str]:
    """The connection is reset once the request's head is there."""
    return _serving(_reset, "http")
