"""How long calls take is measured once for each, and remembered as an average of the last ones of their class."""

from __future__ import annotations

import json

import pytest
from store_kit import Bench

from imagequeue.durations import call_class
from imagequeue.jobs import Claim
from imagequeue.requests import GenerateRequest
from imagequeue.views import job_view

MODEL = "gpt-image-2"


def call(bench: Bench, took_ms: int, **request: str) -> Claim:
    """A call that has just been answered after this time."""
    job = bench.submit(request=GenerateRequest.model_validate({"prompt": "A lighthouse", **request}))
    claim = bench.claimed(job)
    bench.store.start_call(claim, "direct")
    attempt = json.loads(bench.fields(job.id)["attempt:1"])
    started = attempt["call_started"] - took_ms
    bench.raw.hset(bench.keys.job(job.id), "attempt:1", json.dumps({**attempt, "call_started": started}))
    assert bench.store.answered(claim) == "noted"
    return claim


def measured(bench: Bench, size: tuple[int, int] | None = None, quality: str = "auto") -> float | None:
    """Seconds of a call as the store has them."""
    return bench.limiter.state().measured.get(call_class(MODEL, size, quality))


def test_nothing_is_known_before_a_call_was_answered(bench: Bench) -> None:
    bench.store.start_call(bench.claimed(), "direct")
    assert dict(bench.limiter.state().measured) == {}


def test_calls_are_averaged_within_their_class(bench: Bench) -> None:
    call(bench, 10_000)
    call(bench, 20_000)
    call(bench, 90_000, quality="high", size="3840x2160")
    call(bench, 30_000, quality="high", size="1536x1024")
    assert measured(bench) == pytest.approx(15, abs=1)
    assert measured(bench, (3840, 2160), "high") == pytest.approx(90, abs=1)
    assert measured(bench, (1024, 1024), "high") == pytest.approx(30, abs=1)
    assert measured(bench, (2048, 2048), "high") is None


def test_a_note_that_is_repeated_counts_once(bench: Bench) -> None:
    claim = call(bench, 10_000)
    call(bench, 20_000)
    before = measured(bench)
    assert bench.store.answered(claim) == "noted"
    assert measured(bench) == before


def test_the_last_calls_count_most(bench: Bench) -> None:
    for _ in range(30):
        call(bench, 100_000)
    for _ in range(60):
        call(bench, 10_000)
    assert 10 < (measured(bench) or 0) < 15


def test_what_was_measured_tells_when_a_job_has_probably_ended(bench: Bench) -> None:
    job = bench.submit()
    assert job_view(job, 1, bench.limiter.state()).eta_seconds == 48
    call(bench, 20_000)
    assert job_view(job, 1, bench.limiter.state()).eta_seconds in (20, 21)
