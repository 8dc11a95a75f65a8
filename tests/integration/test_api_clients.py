"""Both Python clients against the real API, over a network that loses answers."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2
import pytest
from api_kit import BODY, PICTURE, RunningApi
from portal_kit import async_client

from imagequeue.client import ApiProblem, Client
from imagequeue.views import JobView


class LosesFirstAnswer(httpx2.HTTPTransport):
    """The first request arrives, is carried out and answered; the answer does not come back."""

    lost: httpx2.Response | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """See HTTPTransport."""
        response = super().handle_request(request)
        if self.lost:
            return response
        response.read()
        self.lost = response
        raise httpx2.ReadError("lost", request=request)


class AsyncLosesFirstAnswer(httpx2.AsyncHTTPTransport):
    """The same for the async client."""

    lost: httpx2.Response | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See AsyncHTTPTransport."""
        response = await super().handle_async_request(request)
        if self.lost:
            return response
        await response.aread()
        self.lost = response
        raise httpx2.ReadError("lost", request=request)


ConnectBadly = Callable[[str], AbstractContextManager[Client]]


@pytest.fixture(params=["sync", "async"])
def connect_badly(request: pytest.FixtureRequest) -> ConnectBadly:
    """Makes clients that never see the answer to their first request."""
    if request.param == "sync":
        return lambda url: Client(url, transport=LosesFirstAnswer())
    return lambda url: async_client(url, transport=AsyncLosesFirstAnswer())


@pytest.fixture(params=[Client, async_client], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> ConnectBadly:
    """Makes clients."""
    return request.param


def jobs_of(client: Client, prompt: str) -> list[JobView]:
    """The jobs with this prompt."""
    return [job for job in client.list(limit=100).jobs if job.request.prompt == prompt]


def test_a_submit_whose_answer_was_lost_makes_one_job(api: RunningApi, connect_badly: ConnectBadly) -> None:
    prompt = f"A lighthouse {secrets.token_hex(8)}"
    with connect_badly(api.url) as client:
        job = client.submit({**BODY, "prompt": prompt})
        assert [one.id for one in jobs_of(client, prompt)] == [job.id]


def test_a_session_whose_answer_was_lost_is_started_once_and_a_turn_is_added_once(
    api: RunningApi, connect_badly: ConnectBadly, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    prompt, key = f"Make it night {secrets.token_hex(8)}", secrets.token_hex(8)
    with Client(api.url) as quiet:
        image = quiet.upload(tmp_path / "a.png")
    with connect_badly(api.url) as client:
        first = client.start_session({"prompt": prompt, "images": [image]})
        assert [job.id for job in jobs_of(client, prompt)] == [first.id]
        assert first.session_id
        turn, again = (client.add_turn(first.session_id, {"prompt": "fog"}, idempotency_key=key) for _ in range(2))
        assert (turn.id, turn.turn) == (again.id, 2)


def test_a_key_of_ones_own_finds_the_job_again_and_refuses_another_request(
    api: RunningApi, connect: ConnectBadly
) -> None:
    key = secrets.token_hex(8)
    with connect(api.url) as client:
        job = client.submit(BODY, idempotency_key=key)
        assert client.submit(BODY, idempotency_key=key).id == job.id
        with pytest.raises(ApiProblem) as caught:
            client.submit({**BODY, "n": 2}, idempotency_key=key)
        assert (caught.value.status, caught.value.code) == (422, "idempotency_key_reused")


def test_jobs_that_are_there_and_jobs_that_are_not_are_waited_for(api: RunningApi, connect: ConnectBadly) -> None:
    with connect(api.url) as client:
        queued, cancelled = client.submit(BODY), client.submit(BODY)
        client.cancel(cancelled.id)
        nobodys = f"job_{'0' * 26}"
        page = client.wait_for([queued.id, cancelled.id, nobodys], any_of=True)
        assert [job.state for job in page.jobs] == ["queued", "cancelled"]
        assert page.missing == (nobodys,)
        assert client.wait_for([queued.id], timeout_seconds=0.05).jobs[0].state == "queued"
