"""Who may call when: rate limits that no window of a minute breaks, the pause after a 429, the circuit breaker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest
from store_kit import BUSY, HOUR_MS, Bench, new_job

from imagequeue.jobs import AttemptOutcome, Claim, Job, JobState, Lane
from imagequeue.rate_limits import RateLimits
from imagequeue.requests import GenerateRequest
from imagequeue.store.attempts import AttemptStore
from imagequeue.store.limiter import LimiterStore

MINUTE_MS: Final = 60_000


class Fleet:
    """Workers under limits, on a clock that the test moves: every time in the limiter's hash is moved into the past."""

    def __init__(self, bench: Bench, rates: RateLimits) -> None:
        self.bench = bench
        self.store = AttemptStore(bench.client, bench.keys, rates=rates)
        self.limiter = LimiterStore(bench.client, bench.keys, rates)
        self._moved = -self._redis_seconds()
        self.left: list[tuple[float, str]] = []  # when which call left

    @property
    def now(self) -> float:
        """Seconds since the fleet began, on Redis's clock and with what was moved."""
        return self._redis_seconds() + self._moved

    def _redis_seconds(self) -> float:
        seconds, microseconds = self.bench.client.time()
        return seconds + microseconds / 1e6

    def submit(self, n: int = 1, lane: Lane = "interactive") -> Job:
        """A new job of `n` images."""
        return self.store.submit(new_job(request=GenerateRequest(prompt="A dune", n=n), lane=lane))

    def claim(self, job: Job) -> Claim | None:
        """A worker receives the job's hint."""
        claim = self.store.claim(job.id, "worker-1", f"worker-1/{job.id}", HOUR_MS)
        if claim:
            self.left.append((self.now, job.id))
        return claim

    def grant(self) -> float | None:
        """The granter looks, and its hints arrive at once; seconds until it looks again."""
        granted = self.limiter.grant(100)
        for _, job_id in granted.jobs:
            assert self.claim(self.store.get(job_id)), "a granted job is not parked again"
        return None if granted.wait_ms is None else granted.wait_ms / 1000

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the limiter."""
        self._moved += seconds
        fields = self.bench.client.hgetall(self.bench.keys.limiter)
        for name, value in fields.items():
            if name.endswith("_at") or name == "paused_until":
                self.bench.raw.hset(self.bench.keys.limiter, name, int(value) - int(seconds * 1000))

    def run_until_nobody_is_parked(self) -> None:
        """Grant whenever there is room."""
        while (wait := self.grant()) is not None:
            self.pass_time(wait)


Opener = Callable[..., Fleet]


@pytest.fixture
def under(bench: Bench) -> Opener:
    """Opens a fleet under limits."""

    def open_fleet(**limits: int) -> Fleet:
        return Fleet(bench, replace(RateLimits(), **limits))

    return open_fleet


def most_in_a_minute(calls: list[tuple[float, float]]) -> float:
    """The most that any window of 60 s holds; `calls` are time and amount."""
    return max(sum(amount for at, amount in calls if start <= at < start + 60) for start, _ in calls)


@pytest.mark.parametrize("limit", [5, 60, 250])
def test_no_minute_has_more_images_than_the_limit_and_95_percent_of_it_are_used(under: Opener, limit: int) -> None:
    fleet = under(images=limit)
    jobs = [fleet.submit() for _ in range(limit * 2)]
    for job in jobs:
        fleet.claim(job)
    fleet.run_until_nobody_is_parked()
    assert [job_id for _, job_id in fleet.left] == [job.id for job in jobs], "each once, in order"
    assert most_in_a_minute([(at, 1) for at, _ in fleet.left]) <= limit
    assert len(jobs) / (fleet.now / 60) >= 0.95 * limit


def test_tokens_and_input_images_are_limited_too(under: Opener) -> None:
    fleet = under(tokens=100_000)
    jobs = [fleet.submit() for _ in range(120)]
    tokens = int(fleet.bench.fields(jobs[0].id)["load"].split(":")[1])
    assert tokens == 1757 + 1, "medium, 1024x1024, and the prompt"
    for job in jobs:
        fleet.claim(job)
    fleet.run_until_nobody_is_parked()
    assert most_in_a_minute([(at, tokens) for at, _ in fleet.left]) <= 100_000 + tokens
    assert len(jobs) * tokens / (fleet.now / 60) >= 0.95 * 100_000


def test_a_job_that_needs_more_than_the_bucket_holds_goes_and_the_next_waits_for_its_debt(
    under: Opener,
) -> None:
    fleet = under(images=60)
    large, small = fleet.submit(n=10), fleet.submit()
    assert fleet.claim(large)
    assert fleet.claim(small) is None
    wait = fleet.grant()
    assert wait == pytest.approx(10 - 0.2, abs=0.5), "one image a second, less what the bucket held"


def test_a_job_behind_a_parked_one_is_parked_even_if_there_is_room_for_it(under: Opener) -> None:
    fleet = under(images=60)
    assert fleet.claim(fleet.submit())
    parked, late = fleet.submit(n=2), fleet.submit()
    assert fleet.claim(parked) is None
    fleet.pass_time(1.05)
    assert fleet.claim(late) is None
    fleet.run_until_nobody_is_parked()
    assert [job_id for _, job_id in fleet.left[1:]] == [parked.id, late.id]


def test_interactive_jobs_go_before_parked_batch_jobs_and_keep_a_fifth(under: Opener) -> None:
    fleet = under(images=60)
    batch = [fleet.submit(lane="batch") for _ in range(100)]
    for job in batch:
        fleet.claim(job)
    urgent = fleet.submit()
    fleet.claim(urgent)
    fleet.run_until_nobody_is_parked()
    assert [job_id for _, job_id in fleet.left].index(urgent.id) <= 1
    first_minute = [job_id for at, job_id in fleet.left if 0 < at <= 60]
    assert len(first_minute) <= 0.8 * 60 + 1, "while interactive jobs come, batches leave them a fifth"
    assert len(batch) / (fleet.now / 60) >= 0.8 * 60, "and take it when none comes"


def test_parked_jobs_keep_their_place_and_need_no_hint(under: Opener) -> None:
    fleet = under(images=1)
    fleet.claim(fleet.submit())
    first, second = fleet.submit(), fleet.submit()
    for job in (second, first):
        assert fleet.claim(job) is None
    assert [fleet.store.positions([fleet.store.get(job.id)])[0] for job in (first, second)] == [1, 2]
    assert fleet.store.get(first.id).state is JobState.QUEUED
    assert not fleet.store.hintless()
    assert list(fleet.store.unhinted("interactive")) == []
    assert fleet.bench.members(fleet.bench.keys.outbox) == {}


def test_a_cancelled_job_leaves_the_parked_ones(under: Opener) -> None:
    fleet = under(images=1)
    fleet.claim(fleet.submit())
    parked = fleet.submit()
    fleet.claim(parked)
    fleet.store.cancel(parked)
    assert fleet.grant() is None
    assert fleet.bench.client.hgetall(fleet.bench.keys.parked_loads) == {}


def test_a_grant_whose_hint_is_lost_is_in_the_outbox_and_charged_once(under: Opener) -> None:
    fleet = under(images=60)
    fleet.claim(fleet.submit())
    parked = fleet.submit()
    fleet.claim(parked)
    fleet.pass_time(2)
    fleet.limiter.grant(10)
    level = fleet.bench.client.hgetall(fleet.bench.keys.limiter)["images"]
    assert parked.id in fleet.bench.members(fleet.bench.keys.outbox)
    assert fleet.claim(parked)
    assert fleet.bench.client.hgetall(fleet.bench.keys.limiter)["images"] == level


def test_a_429_pauses_the_fleet_and_halves_its_rate_once_for_many(under: Opener) -> None:
    fleet = under()
    jobs = [fleet.submit() for _ in range(40)]
    for job in jobs[:20]:
        assert fleet.claim(job)
    for _ in range(20):
        fleet.limiter.slow_down(5_000, "429")
    assert not any(fleet.claim(job) for job in jobs[20:])
    assert "429" in (fleet.limiter.state().reason or "")
    assert fleet.grant() == pytest.approx(5, abs=0.3), "for as long as OpenAI asks"
    assert fleet.limiter.state().images_per_minute == pytest.approx(10, rel=0.01)


def test_a_learned_rate_recovers_and_is_forgotten(under: Opener) -> None:
    fleet = under()
    for _ in range(20):
        fleet.claim(fleet.submit())
    fleet.limiter.slow_down(0, "429")
    rates: list[float] = []
    for _ in range(8):
        rates.append(fleet.limiter.state().images_per_minute)
        fleet.pass_time(30)
    assert rates[0] == pytest.approx(10, rel=0.01)
    assert rates[2] == pytest.approx(20, rel=0.01), "doubled after a minute"
    assert rates[-1] == 0, "no limit any more at four times of what went before the 429"


def test_another_429_halves_what_was_learned(under: Opener) -> None:
    fleet = under()
    for _ in range(20):
        fleet.claim(fleet.submit())
    fleet.limiter.slow_down(0, "429")
    fleet.pass_time(30)
    fleet.limiter.slow_down(0, "429")
    assert fleet.limiter.state().images_per_minute < 10


def test_the_open_breaker_lets_one_job_a_minute_through(under: Opener) -> None:
    fleet = under()
    jobs = [fleet.submit() for _ in range(5)]
    assert fleet.limiter.open_breaker("insufficient_quota", "Add credit.") is True
    assert fleet.limiter.open_breaker("insufficient_quota", "Add credit.") is False
    assert not any(fleet.claim(job) for job in jobs)
    assert fleet.grant() == pytest.approx(60, abs=1)
    fleet.pass_time(61)
    granted = fleet.limiter.grant(100)
    assert [job_id for _, job_id in granted.jobs] == [jobs[0].id]
    probe = fleet.claim(jobs[0])
    assert probe and probe.probe
    assert fleet.grant() == pytest.approx(60, abs=1)
    state = fleet.limiter.state()
    assert state.broken_reason == "insufficient_quota"
    assert "Add credit." in (state.reason or "")


def test_a_closed_breaker_lets_all_go(under: Opener) -> None:
    fleet = under()
    jobs = [fleet.submit() for _ in range(5)]
    fleet.limiter.open_breaker("insufficient_quota", "Add credit.")
    for job in jobs:
        fleet.claim(job)
    fleet.limiter.close_breaker()
    assert fleet.limiter.state().reason is None
    fleet.grant()
    assert [job_id for _, job_id in fleet.left] == [job.id for job in jobs]


def test_a_job_granted_before_the_breaker_opened_is_parked_again(under: Opener) -> None:
    fleet = under(images=60)
    fleet.claim(fleet.submit())
    parked = fleet.submit()
    fleet.claim(parked)
    fleet.pass_time(2)
    fleet.limiter.grant(10)
    fleet.limiter.open_breaker("insufficient_quota", "Add credit.")
    assert fleet.claim(parked) is None
    fleet.limiter.close_breaker()
    fleet.run_until_nobody_is_parked()
    assert fleet.store.get(parked.id).state is JobState.RUNNING


def test_a_job_given_back_by_a_blocked_account_keeps_only_the_last_such_attempt(under: Opener) -> None:
    fleet = under()
    job = fleet.submit()
    blocked = BUSY.model_copy(update={"code": "account_blocked"})
    for _ in range(4):
        claim = fleet.claim(job)
        assert claim
        fleet.store.release(claim, AttemptOutcome.BUSY, blocked, 0, None)
    attempts = fleet.store.get(job.id).attempts
    assert [(attempt.number, attempt.code, attempt.cost_usd_estimated) for attempt in attempts] == [
        (4, "account_blocked", 0.0)
    ]
