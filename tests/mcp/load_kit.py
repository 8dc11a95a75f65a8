"""Many calls that wait in one bridge: when each was told something, and when it was answered."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

from bridge_kit import RunningBridge
from mcp.types import CallToolResult


@dataclass
class WaitingCall:
    """A call of generate_image that goes on. Times are of the monotonic clock."""

    prompt: str
    begun: float = field(default_factory=time.monotonic)
    told: list[float] = field(default_factory=list[float])
    answered: float | None = None
    future: Future[CallToolResult] | None = None

    @property
    def longest_silence(self) -> float:
        """Seconds between the first word of progress and the answer in which nothing was told, at most."""
        moments = [*self.told, *([self.answered] if self.answered else [])]
        return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=0.0)

    def result(self, seconds: float) -> CallToolResult:
        """The answer."""
        assert self.future
        return self.future.result(seconds)

    def error(self, seconds: float) -> str:
        """How the client tells that there is no answer."""
        assert self.future
        error = self.future.exception(seconds)
        return f"{type(error).__name__}: {error}"

    def status(self, seconds: float) -> str:
        """The answer's status, or the beginning of its error."""
        result = self.result(seconds)
        if result.is_error or not result.structured_content:
            return str(result.content)[:200]
        return cast("dict[str, Any]", result.structured_content)["status"]


def call_and_go_on(bridge: RunningBridge, prompt: str) -> WaitingCall:
    """Ask for a small image."""
    call = WaitingCall(prompt)

    async def told(progress: float, total: float | None, message: str | None) -> None:
        call.told.append(time.monotonic())

    async def ask() -> CallToolResult:
        arguments = {"prompt": prompt, "quality": "low", "output_format": "jpeg"}
        try:
            return await bridge.client.call_tool("generate_image", arguments, progress_callback=told)
        finally:
            call.answered = time.monotonic()

    call.future = bridge.portal.start_task_soon(ask)
    return call
