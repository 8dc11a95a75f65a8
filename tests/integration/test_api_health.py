"""Readiness while OpenAI does not take calls."""

from __future__ import annotations

from typing import Any, cast

from api_kit import RunningApi, StandInWorker

from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys
from imagequeue.store.limiter import LimiterStore

ADVICE = "OpenAI answered 429 insufficient_quota: No credit. Add credit."


def test_an_api_whose_account_is_blocked_is_paused_and_keeps_taking_jobs(start_own_api: Any) -> None:
    api = cast("RunningApi", start_own_api(IMAGEQUEUE_API_PROCESSES="1"))
    StandInWorker(api.settings).show_life()
    limiter = LimiterStore(connect(api.settings.redis_url), Keys(api.settings.key_prefix))
    limiter.open_breaker("insufficient_quota", ADVICE)
    answer = api.http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "paused"), "no load balancer turns clients away"
    parts = answer.json()["parts"]
    assert {name: part["ok"] for name, part in parts.items()} == {
        "redis": True,
        "s3": True,
        "workers": True,
        "openai": False,
    }
    assert ADVICE in parts["openai"]["detail"]
    job = api.http.get(f"/v1/jobs/{api.submit()}").json()
    assert job["state"] == "queued"
    assert ADVICE in job["waiting_for"]
    limiter.close_breaker()
    assert api.http.get("/readyz").json()["status"] == "ready"


def test_an_api_without_workers_is_unready_whatever_openai_does(start_own_api: Any) -> None:
    api = cast("RunningApi", start_own_api(IMAGEQUEUE_API_PROCESSES="1"))
    LimiterStore(connect(api.settings.redis_url), Keys(api.settings.key_prefix)).open_breaker("http_401", ADVICE)
    answer = api.http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unready")
