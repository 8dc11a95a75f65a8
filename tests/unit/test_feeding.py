"""Which line begins next: highest priority, then the owner with the fewest lines in flight, then the batch."""

from __future__ import annotations

from collections import Counter

from imagequeue.batches import Batch, BatchState
from imagequeue.feeding import MOST_QUEUED, places, shares
from imagequeue.jobs import PriceEstimate
from imagequeue.store.feeding import Fleet, Hungry


def hungry(name: str, owner: str = "a", lines: int = 100, **changes: object) -> Hungry:
    """A batch that has so many lines to begin."""
    fields: dict[str, object] = {
        "id": name,
        "owner": owner,
        "state": BatchState.RUNNING,
        "lines": lines,
        "images": lines,
        "estimate": PriceEstimate(low_usd=0, expected_usd=0, high_usd=0),
        "window": 1000,
        "created_at": 1,
        "updated_at": 1,
    }
    return Hungry(Batch.model_validate(fields | changes), range(lines))


def fleet(slots: int = 100, queued: int = 0, broken: bool = False, **flying: int) -> Fleet:
    """A fleet with so many lines in flight by owner."""
    return Fleet(slots=slots, flying=flying, queued=queued, broken=broken, now=0)


def turns(batches: list[Hungry], free: int, **flying: int) -> str:
    """The names of the batches, a letter each, in the order in which their lines begin."""
    return "".join(batch.id for batch, _ in shares(batches, flying, free))


def test_a_tenth_of_the_slots_is_kept_for_interactive_jobs() -> None:
    assert places(fleet(slots=10)) == 9
    assert places(fleet(slots=10, a=5, b=3)) == 1
    assert places(fleet(slots=10, a=12)) == 0


def test_one_slot_is_enough_for_one_line() -> None:
    assert places(fleet(slots=1)) == 1
    assert places(fleet(slots=1, a=1)) == 0


def test_without_workers_or_with_an_open_breaker_nothing_begins() -> None:
    assert places(fleet(slots=0)) == 0
    assert places(fleet(broken=True)) == 0


def test_few_lines_wait_in_the_queue() -> None:
    assert places(fleet(slots=1000)) == MOST_QUEUED
    assert places(fleet(slots=1000, queued=MOST_QUEUED - 1, a=100)) == 1
    assert places(fleet(slots=1000, queued=MOST_QUEUED + 5)) == 0


def test_two_owners_share_line_by_line() -> None:
    assert turns([hungry("A", "a"), hungry("B", "b")], 6) == "ABABAB"
    assert turns([hungry("A", "a", in_flight=4), hungry("B", "b")], 6, a=4) == "BBBBAB"


def test_an_owner_with_many_batches_gets_no_more_than_one_with_one() -> None:
    counted = Counter(turns([hungry("A"), hungry("B"), hungry("C"), hungry("D", "d")], 12))
    assert counted == {"A": 2, "B": 2, "C": 2, "D": 6}


def test_two_batches_of_one_owner_share_line_by_line() -> None:
    assert turns([hungry("A", in_flight=2), hungry("B")], 6, a=2) == "BBABAB"


def test_a_higher_priority_goes_first_until_its_window_is_full() -> None:
    assert turns([hungry("A"), hungry("B", "b", priority=1, window=2)], 5) == "BBAAA"
    assert turns([hungry("A"), hungry("B", "b", priority=1, lines=3)], 5) == "BBBAA"


def test_each_batchs_lines_begin_in_their_order() -> None:
    picks = list(shares([Hungry(hungry("A").batch, [7, 9, 3])], {}, 5))
    assert [line for _, line in picks] == [7, 9, 3]
