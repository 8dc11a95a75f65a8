"""Which way an edit goes: straight to `/v1/images/edits`, or by the Responses API where that refuses the model."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

import structlog
from openai import APIStatusError

from imagequeue.errors import ProviderError, ProviderRefused
from imagequeue.store.fleet import FleetStore
from worker.edit_order import EditOrder
from worker.previews import OnPreview
from worker.spool import Painted

Route = Literal["direct", "responses"]
DirectCall = Callable[[EditOrder, Path, OnPreview], Awaitable[Painted]]
"""Makes an edit's images into files in the folder, and hands on the previews that come before."""
EditCall = Callable[[EditOrder, Path], Awaitable[Painted]]
"""Makes an edit's images into files in the folder."""
StartCall = Callable[[Route], None]
"""Notes that the next request leaves by this route; it may block."""

MEMORY_MS: Final = 3_600_000
"""An hour: not every job tries both routes, and an account that is let in is noticed the same day."""
_REFUSAL: Final = re.compile(r"value must be \W*dall-e-2", re.IGNORECASE)
_log = structlog.stdlib.get_logger(__name__)


class EditRoutes:
    """The two ways of an edit, and the fleet's memory of which one is open."""

    def __init__(self, direct: DirectCall, responses: EditCall, fleet: FleetStore) -> None:
        self._direct = direct
        self._responses = responses
        self._fleet = fleet

    async def edit(self, order: EditOrder, folder: Path, start_call: StartCall, on_preview: OnPreview) -> Painted:
        """Make the edit; when the edits endpoint refuses the model, which costs nothing, go on by the other route.

        `start_call` is called in a thread before each route is taken. What it raises ends the edit with nothing sent.
        Only the direct route gives previews.

        Raises:
            ProviderError: by what the failure means; see worker.policy.
            StoreUnavailable: Redis does not answer; nothing was paid for.
        """
        if await asyncio.to_thread(self._started, start_call) == "direct":
            try:
                return await self._direct(order, folder, on_preview)
            except ProviderRefused as error:
                if not refuses_the_model(error):
                    raise
            _log.warning("edits_endpoint_refuses_model", model=order.model, route="responses")
            await asyncio.to_thread(self._fleet.remember_responses_route, MEMORY_MS)
            await asyncio.to_thread(start_call, "responses")
        return await self._responses(order, folder)

    def _started(self, start_call: StartCall) -> Route:
        """The route that is taken first; that it is taken is noted."""
        route: Route = "direct" if self._fleet.edit_route() == "direct" else "responses"
        start_call(route)
        return route


def refuses_the_model(error: ProviderError) -> bool:
    """Whether OpenAI's answer behind this error says that the edits endpoint is not for this model, as it has done."""
    answer = error.__cause__
    if not isinstance(answer, APIStatusError) or answer.status_code != 400 or answer.param != "model":
        return False
    return _REFUSAL.search(str(answer)) is not None
