"""The async client behind the methods of the sync one, so that one test runs over both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, cast

from imagequeue.async_client import AsyncClient
from imagequeue.client import Client


class Connect(Protocol):
    """Makes a client; the arguments are those of `Client`."""

    def __call__(
        self, base_url: str, api_key: str | None = None, *, timeout_seconds: float = 30, patience_seconds: float = 60
    ) -> AbstractContextManager[Client]:
        """A client that is closed after the block."""
        ...


@contextmanager
def async_client(base_url: str, api_key: str | None = None, **options: Any) -> Generator[Client]:
    """An AsyncClient whose loop runs in a thread of its own, as if it were a Client."""
    with _loop() as run:
        client = AsyncClient(base_url, api_key, **options)
        try:
            yield cast(Client, _Blocking(client, run))
        finally:
            run(client.aclose())


class _Blocking:
    """Every coroutine function becomes a function, every async generator a generator."""

    def __init__(self, target: object, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._target = target
        self._run = run

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found if isinstance(found, str) else _Blocking(found, self._run)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = found(*args, **kwargs)
            if isinstance(answer, AsyncGenerator):
                return self._generated(cast("AsyncGenerator[Any]", answer))
            return self._run(answer) if inspect.iscoroutine(answer) else answer

        return call

    def _generated(self, answers: AsyncGenerator[Any]) -> Generator[Any]:
        async def following() -> tuple[Any, ...]:
            try:
                return (await anext(answers),)
            except StopAsyncIteration:
                return ()

        try:
            while answer := self._run(following()):
                yield answer[0]
        finally:
            self._run(answers.aclose())


@contextmanager
def _loop() -> Generator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
