"""Rates as people read them."""

from __future__ import annotations

import pytest

from imagequeue.rate_limits import rate_in_words


@pytest.mark.parametrize(
    ("per_minute", "words"), [(0.5, "0.5"), (2.345, "2.3"), (9, "9"), (20, "20"), (333.3, "333"), (1250.4, "1,250")]
)
def test_a_rate_is_written_without_an_exponent(per_minute: float, words: str) -> None:
    assert rate_in_words(per_minute) == words
