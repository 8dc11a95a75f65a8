"""An edit takes the direct route unless that refuses the model, and the fleet remembers it for an hour."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from fakeredis import FakeRedis
from openai import APIStatusError, BadRequestError, NotFoundError

from imagequeue.errors import ProviderBusy, ProviderError, ProviderRefused
from imagequeue.jobs import Applied
from imagequeue.store.fleet import FleetStore
from imagequeue.store.keys import Keys
from worker.edit_order import EditOrder
from worker.edit_routes import MEMORY_MS, EditRoutes, Route, refuses_the_model
from worker.loop import LoopThread
from worker.previews import OnPreview, Preview
from worker.spool import Painted

FOLDER: Final = Path("unused")
ORDER: Final = EditOrder(
    model="gpt-image-2",
    prompt="p",
    images=(),
    mask=None,
    size="auto",
    quality="auto",
    n=1,
    background="auto",
    output_format="png",
    output_compression=None,
    user=None,
    client_request_id="job_1-1",
)
REFUSAL: Final = "Invalid value: 'gpt-image-2'. Value must be 'dall-e-2'."


def refused(
    message: str = REFUSAL, param: str | None = "model", kind: type[APIStatusError] = BadRequestError, status: int = 400
) -> ProviderRefused:
    """OpenAI's refusal as the direct route raises it."""
    response = httpx2.Response(status, request=httpx2.Request("POST", "http://openai.test/v1/images/edits"))
    error = ProviderRefused("refused")
    error.__cause__ = kind(message, response=response, body={"message": message, "param": param})
    return error


def no_previews(preview: Preview) -> None:
    """Takes previews of routes that give none."""


class Trip:
    """Edits whose routes are only noted; `direct_error` is what the direct one ends in."""

    def __init__(self) -> None:
        self.direct_error: Exception | None = None
        self.log: list[str] = []
        self.redis: Any = FakeRedis(decode_responses=True)
        self.fleet = FleetStore(self.redis, Keys("iq:"))

    async def direct(self, order: EditOrder, folder: Path, on_preview: OnPreview) -> Painted:
        """The direct route."""
        self.log.append("direct sent")
        if self.direct_error:
            raise self.direct_error
        return self._painted("direct")

    async def responses(self, order: EditOrder, folder: Path) -> Painted:
        """The other."""
        self.log.append("responses sent")
        return self._painted("responses")

    def start_call(self, route: Route) -> None:
        """Notes a call."""
        self.log.append(f"{route} noted")

    def edit(self) -> str:
        """The route that gave the image."""
        routes = EditRoutes(self.direct, self.responses, self.fleet)
        return asyncio.run(routes.edit(ORDER, FOLDER, self.start_call, no_previews)).notes[0]

    def _painted(self, route: str) -> Painted:
        return Painted(files=(), usage=None, applied=Applied(), request_id=None, notes=(route,))


def test_an_open_edits_endpoint_is_the_only_one_called() -> None:
    trip = Trip()
    assert trip.edit() == "direct"
    assert trip.log == ["direct noted", "direct sent"]


def test_a_refused_model_goes_on_by_responses_and_each_call_is_noted_before_it_leaves() -> None:
    trip = Trip()
    trip.direct_error = refused()
    assert trip.edit() == "responses"
    assert trip.log == ["direct noted", "direct sent", "responses noted", "responses sent"]


def test_the_refusal_is_remembered_for_an_hour() -> None:
    trip = Trip()
    trip.direct_error = refused()
    trip.edit()
    assert 0 < trip.redis.pttl("iq:edit_route") <= MEMORY_MS == 3_600_000
    trip.log.clear()
    assert trip.edit() == "responses"
    assert trip.log == ["responses noted", "responses sent"]


def test_what_is_forgotten_is_tried_again() -> None:
    trip = Trip()
    trip.fleet.remember_responses_route(60_000)
    assert trip.edit() == "responses"
    trip.redis.delete("iq:edit_route")
    assert trip.edit() == "direct"


@pytest.mark.parametrize("error", [ProviderRefused("other"), ProviderBusy("busy"), refused("No such size.", "size")])
def test_any_other_failure_ends_the_edit_and_changes_no_route(error: ProviderError) -> None:
    trip = Trip()
    trip.direct_error = error
    with pytest.raises(ProviderError) as raised:
        trip.edit()
    assert raised.value is error
    assert trip.log == ["direct noted", "direct sent"]
    assert trip.fleet.edit_route() == "direct"


@pytest.mark.parametrize("stopped", ["direct", "responses"])
def test_a_call_that_may_not_start_is_not_sent(stopped: Route) -> None:
    class Stop(Exception):
        pass

    def start_call(route: Route) -> None:
        trip.start_call(route)
        if route == stopped:
            raise Stop

    trip = Trip()
    trip.direct_error = refused()
    with pytest.raises(Stop):
        asyncio.run(EditRoutes(trip.direct, trip.responses, trip.fleet).edit(ORDER, FOLDER, start_call, no_previews))
    assert f"{stopped} sent" not in trip.log


def test_a_cancel_that_is_noticed_at_the_start_of_a_call_cancels_the_edit() -> None:
    def start_call(route: Route) -> None:
        raise CancelledError

    trip, loop = Trip(), LoopThread()
    try:
        edit = loop.submit(
            EditRoutes(trip.direct, trip.responses, trip.fleet).edit(ORDER, FOLDER, start_call, no_previews)
        )
        with pytest.raises(CancelledError):
            edit.result(timeout=10)
    finally:
        loop.close()
    assert trip.log == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refused(), True),
        (refused("invalid value: 'x'. value must be 'dall-e-2'."), True),
        (refused(repr({"message": f'{REFUSAL} "{REFUSAL}"'})), True),
        (refused(param=None), False),
        (refused(param="size"), False),
        (refused("The model does not exist."), False),
        (refused(kind=NotFoundError, status=404), False),
        (ProviderRefused(REFUSAL), False),
    ],
)
def test_only_openais_own_refusal_of_the_model_counts(error: ProviderRefused, expected: bool) -> None:
    assert refuses_the_model(error) is expected
