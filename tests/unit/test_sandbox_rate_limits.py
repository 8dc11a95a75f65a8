"""The strict sliding window of the sandbox's rate limits, on a clock that the test turns."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sandbox.api_errors import ApiError
from sandbox.rate_limits import Limits, RateWindow, Use

ONE = Use(images=1, tokens=100)
FIVE_A_MINUTE = Limits(images=5)


def refused(window: RateWindow, use: Use, limits: Limits, now: float) -> ApiError:
    with pytest.raises(ApiError) as caught:
        window.admit(use, limits, now)
    return caught.value


def error_of(refusal: ApiError) -> dict[str, Any]:
    return refusal.body["error"]


def test_calls_are_admitted_up_to_the_limit_and_again_when_the_window_has_passed() -> None:
    window = RateWindow()
    for second in range(5):
        window.admit(ONE, FIVE_A_MINUTE, second)
    refused(window, ONE, FIVE_A_MINUTE, 59.999)
    window.admit(ONE, FIVE_A_MINUTE, 60)
    refused(window, ONE, FIVE_A_MINUTE, 60.5)
    window.admit(ONE, FIVE_A_MINUTE, 61)


def test_the_limit_holds_across_the_edge_of_a_minute() -> None:
    window = RateWindow()
    for _ in range(5):
        window.admit(ONE, FIVE_A_MINUTE, 59)
    assert refused(window, ONE, FIVE_A_MINUTE, 61).headers["retry-after"] == "58"


def test_refused_calls_use_nothing() -> None:
    window = RateWindow()
    window.admit(Use(images=4, tokens=0), FIVE_A_MINUTE, 0)
    for _ in range(10):
        refused(window, Use(images=2, tokens=0), FIVE_A_MINUTE, 1)
    assert window.admit(ONE, FIVE_A_MINUTE, 1)["x-ratelimit-remaining-images"] == "0"


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        (Limits(images=5), "images"),
        (Limits(tokens=500), "tokens"),
        (Limits(input_images=10), "input-images"),
    ],
)
def test_each_limit_counts_its_own_and_is_named(limits: Limits, kind: str) -> None:
    window, use = RateWindow(), Use(images=1, tokens=100, input_images=2)
    for _ in range(5):
        window.admit(use, limits, 0)
    refusal = refused(window, use, limits, 10)
    assert refusal.status == 429
    assert (error_of(refusal)["code"], error_of(refusal)["type"]) == ("rate_limit_exceeded", kind)
    assert f"on {kind} per min: Limit " in error_of(refusal)["message"]
    assert "Please try again in 50s." in error_of(refusal)["message"]
    assert set(refusal.headers) == {"retry-after", *(f"x-ratelimit-{what}-{kind}" for what in HEADERS)}


HEADERS = ("limit", "remaining", "reset")


def test_of_several_limits_the_one_that_takes_longest_is_named() -> None:
    limits = Limits(images=3, tokens=1000)
    window = RateWindow()
    window.admit(Use(images=1, tokens=0), limits, 0)
    window.admit(Use(images=1, tokens=1000), limits, 20)
    window.admit(Use(images=1, tokens=0), limits, 30)
    refusal = refused(window, ONE, limits, 40)  # an image fits at 60, the tokens at 80
    assert (error_of(refusal)["type"], refusal.headers["retry-after"]) == ("tokens", "40")


def test_retry_after_is_when_enough_earlier_calls_have_left_in_whole_seconds() -> None:
    window = RateWindow()
    for second in (0, 10, 20.25):
        window.admit(ONE, Limits(images=3), second)
    assert [
        refused(window, Use(images=n, tokens=0), Limits(images=3), 30.5).headers["retry-after"] for n in (1, 2, 3)
    ] == ["30", "40", "50"]
    assert refused(window, ONE, Limits(images=3), 59.9).headers["retry-after"] == "1"


def test_a_call_that_can_never_fit_is_told_so() -> None:
    window = RateWindow()
    refusal = refused(window, Use(images=6, tokens=0), FIVE_A_MINUTE, 0)
    assert error_of(refusal)["message"].startswith("Request too large for gpt-image-2 on images per min: Limit 5, ")
    assert refusal.headers["retry-after"] == "60"
    window.admit(Use(images=5, tokens=0), FIVE_A_MINUTE, 0)


def test_headers_tell_limit_rest_and_when_all_is_there_again() -> None:
    window = RateWindow()
    limits = Limits(images=5, tokens=1000)
    window.admit(ONE, limits, 0)
    assert window.admit(ONE, limits, 10.75) == {
        "x-ratelimit-limit-images": "5",
        "x-ratelimit-remaining-images": "3",
        "x-ratelimit-reset-images": "1m0s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "800",
        "x-ratelimit-reset-tokens": "1m0s",
    }


@pytest.mark.parametrize(
    ("window_seconds", "told"), [(0.017, "17ms"), (1, "1s"), (8.64, "8.64s"), (60, "1m0s"), (3599.5, "59m59.5s")]
)
def test_durations_are_written_as_openai_writes_them(window_seconds: float, told: str) -> None:
    limits = Limits(images=1, window_seconds=window_seconds)
    assert RateWindow().admit(ONE, limits, 0)["x-ratelimit-reset-images"] == told


def test_without_limits_everything_is_admitted_and_nothing_kept() -> None:
    window = RateWindow()
    assert [window.admit(ONE, Limits(), 0) for _ in range(1000)] == [{}] * 1000
    window.admit(ONE, Limits(images=1), 0)


def test_no_window_ever_holds_more_than_the_limits() -> None:
    draw = random.Random(7)
    limits = Limits(images=7, tokens=900, input_images=4, window_seconds=10)
    window, now, admitted = RateWindow(), 0.0, list[tuple[float, Use]]()
    for _ in range(3000):
        now += draw.expovariate(2)
        use = Use(draw.randint(1, 4), draw.randint(1, 400), draw.randint(0, 2))
        try:
            window.admit(use, limits, now)
        except ApiError as refusal:
            assert not fits(admitted, use, limits, now)
            assert fits(admitted, use, limits, now + float(refusal.headers["retry-after"]))
        else:
            assert fits(admitted, use, limits, now)
            admitted.append((now, use))
    assert 100 < len(admitted) < 2900  # both answers were seen often


def fits(admitted: list[tuple[float, Use]], use: Use, limits: Limits, now: float) -> bool:
    inside = [use, *(earlier for since, earlier in admitted[-20:] if since + limits.window_seconds > now)]
    used = (sum(u.images for u in inside), sum(u.tokens for u in inside), sum(u.input_images for u in inside))
    assert limits.images and limits.tokens and limits.input_images
    return used[0] <= limits.images and used[1] <= limits.tokens and used[2] <= limits.input_images
