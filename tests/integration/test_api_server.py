"""The API as a process: health, many waiters at once, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any, cast

import httpx2
import pytest
from api_kit import RunningApi, StandInWorker

from sandbox.stack.ports import HOST, choose_port

WAITERS = 200
SETTLED_SECONDS = 1.0
"""How long requests must stay unanswered to count as waiting."""
END_SECONDS = 5.0
STOP_SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])


def wait_for_all(
    api: RunningApi, job_ids: list[str], then: Callable[[], object], count: int
) -> list[httpx2.Response | BaseException]:
    """Let `count` requests wait for the jobs, do `then` while none is answered, and return the answers."""

    async def run() -> list[httpx2.Response | BaseException]:
        # Connections close with their answers: the server lets idle ones linger for 2 s when it stops.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx2.AsyncClient(base_url=api.url, limits=limits, timeout=60, trust_env=False) as client:
            tasks = [
                asyncio.create_task(client.get(f"/v1/jobs/{job_ids[index % len(job_ids)]}", params={"wait": "50"}))
                for index in range(count)
            ]
            answered, _ = await asyncio.wait(tasks, timeout=SETTLED_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            assert not answered, [task.result() for task in answered]
            await asyncio.to_thread(then)
            return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(run())


def test_health_needs_nothing_else(http: httpx2.Client) -> None:
    answer = http.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_readiness_names_the_missing_worker_until_one_shows_life(empty_api: RunningApi) -> None:
    api = empty_api
    before = api.http.get("/readyz")
    assert (before.status_code, before.json()["status"]) == (503, "unready")
    assert {name: part["ok"] for name, part in before.json()["parts"].items()} == {
        "redis": True,
        "s3": True,
        "workers": False,
        "openai": True,
    }
    assert "imagequeue worker" in before.json()["parts"]["workers"]["detail"]
    StandInWorker(api.settings).show_life()
    after = api.http.get("/readyz")
    assert (after.status_code, after.json()["status"]) == (200, "ready")
    assert all(part["ok"] for part in after.json()["parts"].values())


def test_readiness_names_an_s3_that_does_not_answer(start_own_api: Any) -> None:
    endpoint = f"http://{HOST}:{choose_port()}"
    api = cast("RunningApi", start_own_api(IMAGEQUEUE_S3_ENDPOINT=endpoint, IMAGEQUEUE_API_PROCESSES="1"))
    answer = api.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"]["s3"]["ok"] is False
    assert "IMAGEQUEUE_S3_ENDPOINT" in answer.json()["parts"]["s3"]["detail"]


def test_readiness_names_refused_keys(start_own_api: Any) -> None:
    api = cast("RunningApi", start_own_api(AWS_SECRET_ACCESS_KEY="wrong", IMAGEQUEUE_API_PROCESSES="1"))
    assert api.http.get("/readyz").json()["parts"]["s3"]["ok"] is False


def test_many_wait_at_once_while_others_are_served(api: RunningApi, worker: StandInWorker) -> None:
    claims = [worker.claim(api.submit()) for _ in range(20)]

    def finish_all() -> None:
        assert api.http.get("/healthz").status_code == 200
        for claim in claims:
            worker.succeed(claim)

    answers = wait_for_all(api, [claim.job.id for claim in claims], finish_all, WAITERS)
    assert len(answers) == WAITERS
    states = {answer.json()["state"] for answer in answers if isinstance(answer, httpx2.Response)}
    assert states == {"succeeded"}, [answer for answer in answers if isinstance(answer, BaseException)][:3]


@STOP_SIGNALS
def test_a_stop_signal_answers_waiting_requests_with_the_job_as_it_is_and_ends_every_process_soon(
    start_own_api: Any, number: int
) -> None:
    api = cast("RunningApi", start_own_api())

    def stop() -> None:
        api.process.send_signal(number)
        assert api.process.wait(END_SECONDS) == 0

    answers = wait_for_all(api, [api.submit()], stop, 40)
    states = [answer.json()["state"] for answer in answers if isinstance(answer, httpx2.Response)]
    assert states == ["queued"] * 40, answers
    with pytest.raises(ProcessLookupError):
        os.killpg(api.process.pid, 0)


def test_a_stopped_api_leaves_its_jobs_to_the_next_one(start_own_api: Any) -> None:
    variables = {"IMAGEQUEUE_KEY_PREFIX": "shared-by-two:", "IMAGEQUEUE_API_PROCESSES": "1"}
    first = cast("RunningApi", start_own_api(**variables))
    job_id = first.submit()
    first.stop()
    second = cast("RunningApi", start_own_api(**variables))
    assert second.http.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"


def test_the_server_writes_nothing_into_the_home_folder(start_own_api: Any, tmp_path_factory: Any) -> None:
    home = tmp_path_factory.mktemp("home")
    start_own_api(HOME=str(home), IMAGEQUEUE_API_PROCESSES="1")
    assert list(home.iterdir()) == []
