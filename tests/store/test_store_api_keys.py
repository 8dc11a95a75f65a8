"""API keys in Redis: found by a digest alone, at most two secrets at a time, listed last."""

from __future__ import annotations

import pytest
from key_kit import make_purse
from store_kit import Bench

from imagequeue.api_keys import ALL_SCOPES, KeyLimits, Scope, new_key_id
from imagequeue.errors import KeyNotFound
from imagequeue.store.api_keys import NewKey
from imagequeue.store.scripts import Scripts

LIMITS = KeyLimits(jobs_per_minute=60, jobs_in_flight=5, daily_budget_usd=0.1, monthly_budget_usd=1_000_000)
HOUR_MS = 3_600_000


def new_key(**changes: object) -> NewKey:
    """A key that is not stored yet."""
    fields: dict[str, object] = {"name": "studio", "owner": "team", "scopes": ALL_SCOPES, "limits": LIMITS}
    return NewKey(**{"id": new_key_id(), "hint": "wxyz", **fields, **changes})  # pyright: ignore[reportArgumentType]


def test_a_key_is_found_by_its_digest_as_it_was_made(bench: Bench) -> None:
    assert not bench.api_keys.any()
    assert bench.api_keys.all() == []
    new = new_key()
    assert bench.api_keys.add(new, "digest") == new.id
    key = bench.api_keys.find("digest")
    assert key
    assert (key.id, key.name, key.owner, key.scopes, key.limits, key.hint) == (
        *(new.id, "studio", "team", ALL_SCOPES, LIMITS, "wxyz"),
    )
    assert (key.rotated_at, key.revoked_at) == (None, None)
    assert bench.api_keys.any()
    assert bench.api_keys.all() == [key] == [bench.api_keys.get(new.id)]
    assert bench.api_keys.find("other") is None
    assert bench.api_keys.get(new_key_id()) is None


def test_keys_are_listed_oldest_first(bench: Bench) -> None:
    ids = [f"key_{number:026}" for number in (3, 1, 2)]
    for key_id in ids:
        bench.api_keys.add(new_key(id=key_id), f"digest-{key_id}")
    assert [key.id for key in bench.api_keys.all()] == sorted(ids)


def test_a_key_whose_making_was_cut_short_locks_nobody_out_and_is_made_again(bench: Bench) -> None:
    first, second = new_key(), new_key()
    bench.api_keys.add(first, "digest")
    bench.raw.delete(bench.keys.api_keys)  # as if it had ended before the last step
    assert not bench.api_keys.any()
    assert bench.api_keys.add(second, "digest") == first.id
    assert bench.api_keys.all() == [bench.api_keys.find("digest")]
    assert bench.api_keys.get(second.id) is None


def test_the_secret_before_a_rotation_is_good_for_the_grace_and_no_earlier_one_at_all(bench: Bench) -> None:
    store, new = bench.api_keys, new_key()
    store.add(new, "one")
    store.rotate(new.id, "two", "2222", grace_ms=HOUR_MS)
    assert [bool(store.find(digest)) for digest in ("one", "two")] == [True, True]
    assert HOUR_MS - 60_000 < bench.raw.pttl(bench.keys.api_key_by("one")) <= HOUR_MS
    assert bench.raw.pttl(bench.keys.api_key_by("two")) == -1
    store.rotate(new.id, "three", "3333", grace_ms=HOUR_MS)
    assert [bool(store.find(digest)) for digest in ("one", "two", "three")] == [False, True, True]
    store.rotate(new.id, "four", "4444", grace_ms=0)
    assert [bool(store.find(digest)) for digest in ("two", "three", "four")] == [False, False, True]
    key = store.get(new.id)
    assert key
    assert (key.hint, key.name, key.limits) == ("4444", "studio", LIMITS)
    assert key.rotated_at is not None


def test_rotating_twice_with_one_secret_changes_nothing(bench: Bench) -> None:
    new = new_key()
    bench.api_keys.add(new, "one")
    bench.api_keys.rotate(new.id, "two", "2222", grace_ms=HOUR_MS)
    before = bench.contents()
    bench.api_keys.rotate(new.id, "two", "2222", grace_ms=0)
    assert bench.contents() == before


def test_a_rotation_that_another_one_came_before_starts_again(bench: Bench) -> None:
    new = new_key()
    bench.api_keys.add(new, "two")
    names = {"by_digest": "three", "by_old_digest": "one", "by_older_digest": None}
    keys = {name: bench.keys.api_key_by(digest) for name, digest in names.items()}
    before = bench.contents()
    script = Scripts(bench.client)
    stale = [new.id, "three", "3333", "one", 0]
    assert script.run("rotate_api_key", {**keys, "api_key": bench.keys.api_key(new.id)}, stale) == "changed"
    assert bench.contents() == before


def test_a_revoked_key_is_refused_and_stays_known(bench: Bench) -> None:
    new = new_key()
    bench.api_keys.add(new, "one")
    bench.api_keys.rotate(new.id, "two", "2222", grace_ms=HOUR_MS)
    bench.api_keys.revoke(new.id)
    assert [bench.api_keys.find(digest) for digest in ("one", "two")] == [None, None]
    assert [key.revoked_at is not None for key in bench.api_keys.all()] == [True]
    assert bench.api_keys.any(), "or the door would be open again"
    for key_id in (new.id, new_key_id()):
        with pytest.raises(KeyNotFound):
            bench.api_keys.rotate(key_id, "three", "3333", grace_ms=0)
    assert bench.api_keys.find("three") is None


def test_limits_are_replaced_as_a_whole(bench: Bench) -> None:
    purse = make_purse(bench, jobs_per_minute=60, daily_budget_usd=1)
    purse.limit(jobs_in_flight=5, monthly_budget_usd=0.000001)
    key = bench.api_keys.get(purse.key_id)
    assert key
    assert key.limits == KeyLimits(jobs_in_flight=5, monthly_budget_usd=0.000001)
    purse.limit()
    key = bench.api_keys.get(purse.key_id)
    assert key
    assert key.limits == KeyLimits()
    assert key.scopes == {Scope.SUBMIT, Scope.READ}


def test_what_a_key_has_used_is_told_in_dollars(bench: Bench) -> None:
    purse = make_purse(bench)
    assert vars_of(bench, purse.key_id) == (0, 0.0, 0.0, 0.0)
    job = purse.submit()
    assert vars_of(bench, purse.key_id) == (1, job.estimate.high_usd, 0.0, 0.0)


def test_the_first_pepper_is_kept(bench: Bench) -> None:
    assert [bench.api_keys.pepper(check) for check in ("one", "two", "one")] == ["one"] * 3


def vars_of(bench: Bench, key_id: str) -> tuple[int, float, float, float]:
    """What the key has used."""
    used = bench.api_keys.spending(key_id)
    return used.jobs_in_flight, used.reserved_usd, used.today_usd, used.this_month_usd
