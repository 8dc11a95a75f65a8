"""Prices: the published table of output tokens, estimates that enclose what the model may choose, and costs."""

from __future__ import annotations

import itertools

import pytest

from imagequeue.jobs import Attempt, AttemptOutcome, NewJob
from imagequeue.pricing import FixedQuality, TokenUsage, cost_usd, estimate, output_tokens, text_tokens
from imagequeue.requests import GenerateRequest

QUALITIES: tuple[FixedQuality, ...] = ("low", "medium", "high")

# OpenAI's table of output tokens per image.
PUBLISHED: list[tuple[int, int, FixedQuality, int]] = [
    (1024, 1024, "low", 196),
    (1024, 1024, "medium", 1756),
    (1024, 1024, "high", 7024),
    (1536, 1024, "low", 158),
    (1536, 1024, "medium", 1372),
    (1536, 1024, "high", 5488),
    (3840, 2160, "high", 13342),
]

USAGES: list[tuple[TokenUsage, float | None]] = [
    (TokenUsage(output_tokens=1_000_000), 30.0),
    (TokenUsage(output_tokens=1_000_000, input_tokens=1_000_000), 35.0),
    (TokenUsage(output_tokens=0, input_text_tokens=1_000_000), 5.0),
    (TokenUsage(output_tokens=0, input_image_tokens=1_000_000, input_text_tokens=0), 8.0),
    (TokenUsage(output_tokens=0, input_tokens=1_000_000, input_image_tokens=400_000), 6.2),
    (TokenUsage(output_tokens=1756, input_tokens=50, input_text_tokens=50, input_image_tokens=0), 0.05293),
    (TokenUsage(output_tokens=0), 0.0),
    (TokenUsage(), None),
    (TokenUsage(input_tokens=50, input_text_tokens=50), None),
]


@pytest.mark.parametrize(("width", "height", "quality", "tokens"), PUBLISHED)
def test_output_tokens_are_those_of_the_published_table(
    width: int, height: int, quality: FixedQuality, tokens: int
) -> None:
    assert output_tokens(width, height, quality) == tokens
    assert output_tokens(height, width, quality) == tokens, "a turned image costs the same"


@pytest.mark.parametrize("size", [(1024, 1024), (1536, 1024), (640, 1024), (3840, 1280), (3840, 2160)])
def test_better_quality_never_costs_less(size: tuple[int, int]) -> None:
    tokens = [output_tokens(*size, quality) for quality in QUALITIES]
    assert tokens == sorted(tokens)
    assert tokens[0] > 0


@pytest.mark.parametrize(
    ("quality", "dollars"),
    [("low", 0.00588), ("medium", 0.05268), ("high", 0.21072)],
)
def test_a_fixed_request_is_priced_exactly(quality: str, dollars: float) -> None:
    priced = estimate("abcd" * 10, (1024, 1024), quality, 1)
    assert priced.low_usd == priced.expected_usd == priced.high_usd == round(dollars + 10 * 5 / 1_000_000, 6)


def test_the_prompt_is_paid_once_and_the_images_each() -> None:
    one, ten = (estimate("a" * 4000, (1024, 1024), "low", n).expected_usd for n in (1, 10))
    assert one == pytest.approx(0.005 + 0.00588)
    assert ten == pytest.approx(0.005 + 10 * 0.00588)


@pytest.mark.parametrize("size", [None, (1024, 1024), (3840, 2160)])
@pytest.mark.parametrize("quality", ["auto", *QUALITIES])
def test_the_bounds_enclose_the_expected_price(size: tuple[int, int] | None, quality: str) -> None:
    priced = estimate("a lighthouse", size, quality, 3)
    assert 0 < priced.low_usd <= priced.expected_usd <= priced.high_usd


def test_the_bounds_enclose_whatever_preset_and_quality_the_model_picks() -> None:
    bounds = estimate("a lighthouse", None, "auto", 2)
    for size, quality in itertools.product([(1024, 1024), (1536, 1024), (1024, 1536)], QUALITIES):
        picked = estimate("a lighthouse", size, quality, 2).expected_usd
        assert bounds.low_usd <= picked <= bounds.high_usd


def test_what_is_left_open_is_expected_to_be_square_and_medium() -> None:
    chosen = estimate("a lighthouse", (1024, 1024), "medium", 1)
    assert estimate("a lighthouse", None, "auto", 1).expected_usd == chosen.expected_usd


@pytest.mark.parametrize(("prompt", "tokens"), [("", 1), ("a", 1), ("abcd", 1), ("abcde", 2), ("a" * 32_000, 8000)])
def test_text_tokens_are_about_a_quarter_of_the_characters(prompt: str, tokens: int) -> None:
    assert text_tokens(prompt) == tokens


@pytest.mark.parametrize(("usage", "dollars"), USAGES)
def test_a_cost_is_what_was_counted_and_unknown_is_none_not_zero(usage: TokenUsage, dollars: float | None) -> None:
    assert cost_usd(usage) == dollars


def test_a_job_is_priced_by_its_own_request() -> None:
    def priced(**fields: object) -> float:
        request = GenerateRequest.model_validate({"prompt": "a lighthouse", **fields})
        job = NewJob(request=request, owner="o", lane="batch", model="gpt-image-2", on_unknown_outcome="retry")
        return job.estimate.expected_usd

    assert priced(size="1536x1024", quality="high") == round(0.16464 + 3 * 5 / 1_000_000, 6)
    assert priced(n=4) > 3 * priced()
    assert priced(partial_images=3) == pytest.approx(priced() + 3 * 100 * 30 / 1_000_000)


def test_previews_count_for_the_limits_and_do_not_make_another_request() -> None:
    def new_job(**fields: object) -> NewJob:
        request = GenerateRequest.model_validate({"prompt": "a lighthouse", **fields})
        return NewJob(request=request, owner="o", lane="batch", model="gpt-image-2", on_unknown_outcome="retry")

    plain, streamed = new_job(), new_job(partial_images=2)
    assert streamed.load.tokens == plain.load.tokens + 200
    assert streamed.fingerprint == plain.fingerprint


@pytest.mark.parametrize("outcome", AttemptOutcome)
@pytest.mark.parametrize("call_started", [None, 5])
def test_only_calls_that_left_and_brought_nothing_may_have_cost_something(
    outcome: AttemptOutcome, call_started: int | None
) -> None:
    attempt = Attempt(number=1, worker="w", started=1, call_started=call_started, ended=9, outcome=outcome)
    without_trace = outcome in (AttemptOutcome.UNKNOWN, AttemptOutcome.CANCELLED)
    assert attempt.maybe_billed_for_nothing == (without_trace and call_started is not None)
