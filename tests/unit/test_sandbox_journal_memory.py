"""The journal's memory is bounded."""

from __future__ import annotations

from sandbox.journal import MOST_CALLS, Journal


def test_only_the_last_calls_stay_in_memory() -> None:
    journal = Journal()
    for _ in range(MOST_CALLS + 2):
        journal.receive("/v1/images/generations", "req_1", None, prompt="a fox", n=1, size="auto", quality="auto")
    assert [call["number"] for call in journal.calls(since=MOST_CALLS)] == [MOST_CALLS + 1, MOST_CALLS + 2]
    assert len(journal.calls()) == MOST_CALLS
