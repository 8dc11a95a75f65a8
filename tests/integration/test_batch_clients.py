"""Batches by both Python clients, over a network that loses answers."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx2
import pytest
from api_kit import RunningApi
from batch_kit import lines
from fleet_kit import Fleet
from portal_kit import async_client

from imagequeue.batches import BatchState, LineState
from imagequeue.client import ApiProblem, Client


class _Cutting:
    """Answers to submits are lost once; results break off after the second line, once."""

    def __init__(self) -> None:
        self.left = {"submit", "results"}

    def broken(self, request: httpx2.Request) -> str | None:
        """What becomes of this request's answer."""
        what = "submit" if request.url.path == "/v1/batches" and request.method == "POST" else None
        what = "results" if request.url.path.endswith("/results") else what
        if what in self.left:
            self.left.remove(what)
            return what
        return None


class _CutsOff(httpx2.HTTPTransport):
    cutting = _Cutting()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """See HTTPTransport."""
        response = super().handle_request(request)
        what = _CutsOff.cutting.broken(request)
        if what is None:
            return response
        body = response.read()
        if what == "submit":
            raise httpx2.ReadError("lost", request=request)

        class Begun(httpx2.SyncByteStream):
            def __iter__(self):
                yield b"\n".join(body.split(b"\n")[:2]) + b"\n"
                raise httpx2.ReadError("lost", request=request)

        return httpx2.Response(200, stream=Begun())


class _AsyncCutsOff(httpx2.AsyncHTTPTransport):
    cutting = _Cutting()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See AsyncHTTPTransport."""
        response = await super().handle_async_request(request)
        what = _AsyncCutsOff.cutting.broken(request)
        if what is None:
            return response
        body = await response.aread()
        if what == "submit":
            raise httpx2.ReadError("lost", request=request)

        class Begun(httpx2.AsyncByteStream):
            async def __aiter__(self):
                yield b"\n".join(body.split(b"\n")[:2]) + b"\n"
                raise httpx2.ReadError("lost", request=request)

        return httpx2.Response(200, stream=Begun())


Connect = Callable[[str], AbstractContextManager[Client]]


@pytest.fixture(params=["sync", "async"])
def connect_badly(request: pytest.FixtureRequest) -> Connect:
    """Makes clients that miss the end of some answers."""
    if request.param == "sync":
        return lambda url: Client(url, transport=_CutsOff())
    return lambda url: async_client(url, transport=_AsyncCutsOff())


def test_a_batch_is_made_once_and_all_its_results_come_although_answers_are_lost(
    fleet_api: RunningApi, working_fleet: Fleet, connect_badly: Connect
) -> None:
    words = f"clients {secrets.token_hex(8)}"
    manifest = [*lines(5, words), {"custom_id": "no", "prompt": f"{words} FORBIDDEN"}]
    seen: list[int] = []
    with connect_badly(fleet_api.url) as client:
        batch = client.batches.submit(manifest, max_cost_usd=1, window=3, name=words)
        made = [one.id for one in client.batches.list(limit=100).batches if one.name == words]
        assert made == [batch.id]
        ended = client.batches.wait(batch.id, 60, on_update=lambda each: seen.append(each.counts.succeeded))
        assert (ended.state, ended.counts.succeeded, ended.counts.refused) == (BatchState.COMPLETED, 5, 1)
        assert seen[-1] == 5
        assert [one.custom_id for one in client.batches.results(batch.id)] == [
            str(one["custom_id"]) for one in manifest
        ]
        finished = list(client.batches.results(batch.id, order="finished", after=1))
        assert [one.position for one in finished] == [2, 3, 4, 5]
        assert client.batches.retry_failed(batch.id, ["refused"]).counts.succeeded == 5
        again = client.batches.wait(batch.id, 60)
        assert again.counts == ended.counts
        assert [one.state for one in client.batches.results(batch.id, order="finished", after=5)] == [LineState.REFUSED]
    assert len(working_fleet.sandbox.calls_beginning(words)) == 7


def test_a_batch_is_paused_changed_resumed_and_cancelled(
    fleet_api: RunningApi, connect_badly: Connect, working_fleet: Fleet
) -> None:
    with connect_badly(fleet_api.url) as client:
        batch = client.batches.submit(lines(3, f"steered {secrets.token_hex(8)}"), max_cost_usd=0.001)
        paused = client.batches.wait(batch.id, 60)
        assert paused.pause and paused.pause.code == "max_cost_usd"
        changed = client.batches.change(batch.id, max_cost_usd=None, priority=3)
        assert (changed.max_cost_usd, changed.priority) == (None, 3)
        assert client.batches.wait(batch.id, 60).state is BatchState.COMPLETED
        for steer in (client.batches.pause, client.batches.resume, client.batches.cancel):
            with pytest.raises(ApiProblem) as error:
                steer(batch.id)
            assert error.value.code == "batch_over"
        job_ids = [line.job_id for line in client.batches.results(batch.id)]
        client.batches.delete(batch.id)
        with pytest.raises(ApiProblem) as error:
            client.batches.get(batch.id)
        assert error.value.code == "batch_not_found"
        assert [client.get(str(job_id)).state for job_id in job_ids] == ["succeeded"] * 3, "their jobs stay"
