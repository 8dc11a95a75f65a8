"""Money: reserved when a job is stored, settled in the very step that ends it, never twice, never below nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import resources

import pytest
from key_kit import EXPECTED, HIGH, Purse, make_purse
from store_kit import BUSY, FINISHED, GIVEN_UP, HOUR_MS, REFUSED, SUCCEEDED, Bench, new_job
from turn_kit import add_turn, start_session, succeed, sweep_halted

from imagequeue.errors import BudgetExceeded, JobFinished
from imagequeue.jobs import AttemptOutcome, Claim, Job, JobError, JobState, Result
from imagequeue.store.attempts import lease_of
from imagequeue.store.limits import MICRO, micro

COST = micro(SUCCEEDED.cost_usd_estimated or 0)
BAD_OUTPUT = JobError(code="bad_output", message="no image in it")


def called(purse: Purse, job: Job) -> Claim:
    """A claim whose call has left."""
    claim = purse.bench.claimed(job, holder=f"holder-{job.attempt}")
    assert purse.bench.store.start_call(claim, "direct") == "started"
    return claim


def finish(purse: Purse, claim: Claim, result: Result) -> None:
    """End the job, which must be possible."""
    assert purse.bench.store.finish(claim, result) == FINISHED


def failed(error: JobError, outcome: AttemptOutcome = AttemptOutcome.FAILED, cost: float | None = None) -> Result:
    """A job that failed."""
    return Result(state=JobState.FAILED, outcome=outcome, error=error, cost_usd_estimated=cost)


def after_unknown(purse: Purse, job: Job) -> None:
    """One call of unknown fate is behind the job, which is queued again."""
    assert purse.bench.released(called(purse, job), outcome=AttemptOutcome.UNKNOWN) == "released"


def _succeeded(purse: Purse, job: Job) -> None:
    finish(purse, called(purse, job), SUCCEEDED)


def _succeeded_for_an_unknown_price(purse: Purse, job: Job) -> None:
    finish(purse, called(purse, job), SUCCEEDED.model_copy(update={"cost_usd_estimated": None}))


def _succeeded_at_the_second_call(purse: Purse, job: Job) -> None:
    after_unknown(purse, job)
    _succeeded(purse, job)


def _refused_by_openai(purse: Purse, job: Job) -> None:
    finish(purse, called(purse, job), failed(REFUSED))


def _not_sent(purse: Purse, job: Job) -> None:
    finish(purse, purse.bench.claimed(job), failed(REFUSED, cost=0.0))


def _given_up_while_openai_was_busy(purse: Purse, job: Job) -> None:
    finish(purse, called(purse, job), failed(BUSY, AttemptOutcome.BUSY, cost=0.0))


def _answered_without_an_image(purse: Purse, job: Job) -> None:
    finish(purse, called(purse, job), failed(BAD_OUTPUT))


def _answered_without_an_image_for_a_known_price(purse: Purse, job: Job) -> None:
    finish(purse, called(purse, job), failed(BAD_OUTPUT, cost=0.01))


def _failed_of_unknown_outcome(purse: Purse, job: Job) -> None:
    finish(purse, called(purse, job), failed(BUSY, AttemptOutcome.UNKNOWN))


def _cancelled_unclaimed(purse: Purse, job: Job) -> None:
    purse.bench.store.cancel(job)


def _cancelled_after_an_unknown_call(purse: Purse, job: Job) -> None:
    after_unknown(purse, job)
    purse.bench.store.cancel(job)


def _cancelled_before_the_call(purse: Purse, job: Job) -> None:
    finish(purse, purse.bench.claimed(job), GIVEN_UP.model_copy(update={"cost_usd_estimated": 0.0}))


def _cancelled_during_the_call(purse: Purse, job: Job) -> None:
    finish(purse, called(purse, job), GIVEN_UP)


def _cancelled_when_openai_was_busy(purse: Purse, job: Job) -> None:
    claim = called(purse, job)
    purse.bench.store.cancel(job)
    assert purse.bench.released(claim) == "cancelled"
    finish(purse, claim, Result(state=JobState.CANCELLED, outcome=AttemptOutcome.BUSY, error=BUSY))


def _lost_three_workers(purse: Purse, job: Job) -> None:
    while purse.bench.taken_back(purse.bench.claimed(job)) != "failed":
        pass


def _lost_in_the_call(purse: Purse, job: Job) -> None:
    claims = [called(purse, job)]
    assert purse.bench.taken_back(claims[-1]) == "queued"
    assert purse.bench.taken_back(called(purse, purse.bench.store.get(job.id))) == "failed"


def _cancelled_and_lost_in_the_call(purse: Purse, job: Job) -> None:
    claim = called(purse, job)
    purse.bench.store.cancel(job)
    assert purse.bench.taken_back(claim) == "cancelled"


ENDINGS: dict[str, tuple[Callable[[Purse, Job], None], int]] = {
    "succeeded": (_succeeded, COST),
    "succeeded for an unknown price": (_succeeded_for_an_unknown_price, EXPECTED),
    "succeeded at the second call": (_succeeded_at_the_second_call, COST + EXPECTED),
    "refused by OpenAI": (_refused_by_openai, 0),
    "not sent": (_not_sent, 0),
    "given up while OpenAI was busy": (_given_up_while_openai_was_busy, 0),
    "answered without an image": (_answered_without_an_image, EXPECTED),
    "answered without an image for a known price": (_answered_without_an_image_for_a_known_price, micro(0.01)),
    "failed of unknown outcome": (_failed_of_unknown_outcome, EXPECTED),
    "cancelled unclaimed": (_cancelled_unclaimed, 0),
    "cancelled after an unknown call": (_cancelled_after_an_unknown_call, EXPECTED),
    "cancelled before the call": (_cancelled_before_the_call, 0),
    "cancelled during the call": (_cancelled_during_the_call, EXPECTED),
    "cancelled when OpenAI was busy": (_cancelled_when_openai_was_busy, 0),
    "lost three workers": (_lost_three_workers, 0),
    "lost in the call": (_lost_in_the_call, 2 * EXPECTED),
    "cancelled and lost in the call": (_cancelled_and_lost_in_the_call, EXPECTED),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_settles_what_the_record_says_once(bench: Bench, ending: str) -> None:
    end, cost = ENDINGS[ending]
    purse, other = make_purse(bench), make_purse(bench)
    other.submit()
    job = purse.submit()
    assert (purse.reserved, purse.reserved_in_all, purse.spent) == ({job.id: HIGH}, HIGH, 0)
    end(purse, job)
    ended = bench.store.get(job.id)
    assert ended.state.terminal
    assert (purse.reserved, purse.reserved_in_all, purse.spent) == ({}, 0, cost)
    unpriced = EXPECTED if ended.state is JobState.SUCCEEDED and ended.cost_usd_estimated is None else 0
    assert micro((ended.cost_usd_estimated or 0) + ended.possible_extra_cost_usd) + unpriced == cost
    again(bench, ended)
    assert (purse.reserved_in_all, purse.spent) == (0, cost)
    assert (other.reserved_in_all, other.spent) == (HIGH, 0)


def again(bench: Bench, ended: Job) -> None:
    """Everything that can end a job, once more."""
    claim = Claim(job=ended, holder=bench.fields(ended.id).get("holder", "holder-1"))
    for result in (SUCCEEDED, failed(REFUSED), GIVEN_UP):
        bench.store.finish(claim, result)
    with suppress(JobFinished):
        bench.store.cancel(ended)
    bench.store.sweep(ended.id, lease_of(claim))
    bench.store.submit(new_job(id=ended.id, key_id=ended.key_id))


def test_waiting_keeps_what_is_reserved(bench: Bench) -> None:
    purse = make_purse(bench)
    job = purse.submit()
    bench.released(called(purse, job), HOUR_MS)
    bench.end_delay(job.id)
    assert bench.store.sweep(job.id) == "queued"
    assert bench.taken_back(bench.claimed(job)) == "queued"
    assert (purse.reserved, purse.spent) == ({job.id: HIGH}, 0)


def test_turns_that_are_halted_cost_nothing(bench: Bench) -> None:
    purse = make_purse(bench)
    session, (first,) = start_session(bench)
    succeed(bench, bench.claimed(first))
    second, third = (add_turn(bench, session.id, key_id=purse.key_id) for _ in range(2))
    assert set(purse.reserved) == {second.id, third.id}
    finish(purse, called(purse, second), failed(REFUSED))
    assert sweep_halted(bench) == ["previous_turn_failed"]
    assert (purse.reserved, purse.reserved_in_all, purse.spent) == ({}, 0, 0)


@pytest.mark.parametrize("period", ["daily", "monthly"])
def test_a_budget_holds_to_the_millionth_and_tells_its_figures(bench: Bench, period: str) -> None:
    purse = make_purse(bench, **{f"{period}_budget_usd": 2 * HIGH / MICRO})
    first, _ = purse.submit(), purse.submit()
    with pytest.raises(BudgetExceeded) as refused:
        purse.submit()
    told = str(refused.value)
    assert f"may cost ${HIGH / MICRO:.4f}" in told
    assert f"the key's {period} budget of ${2 * HIGH / MICRO:.4f} has $0.0000 spent" in told
    assert f"${2 * HIGH / MICRO:.4f} reserved" in told
    until = next_start(datetime.now(UTC), period)
    assert f"starts anew at {until:%Y-%m-%dT%H:%M:%SZ}" in told or datetime.now(UTC) >= until
    finish(purse, called(purse, first), failed(REFUSED))
    purse.submit()
    purse.limit(**{f"{period}_budget_usd": (2 * HIGH - 1) / MICRO})
    assert purse.reserved_in_all == 2 * HIGH
    with pytest.raises(BudgetExceeded):
        purse.submit()
    purse.limit()
    purse.submit()


def test_what_was_spent_on_other_days_and_in_other_months_does_not_count(bench: Bench) -> None:
    purse = make_purse(bench, daily_budget_usd=HIGH / MICRO, monthly_budget_usd=HIGH / MICRO)
    today, this_month = fields_of(datetime.now(UTC))
    for day, month in ((today - 1, this_month - 1), (today + 1, this_month + 1)):
        bench.client.hset(
            bench.keys.for_key(purse.key_id)["spending"], mapping={f"day:{day}": str(HIGH), f"month:{month}": str(HIGH)}
        )
    purse.bench.store.cancel(purse.submit())
    finish(purse, called(purse, purse.submit()), SUCCEEDED.model_copy(update={"cost_usd_estimated": 0.000001}))
    with pytest.raises(BudgetExceeded):
        purse.submit()


def test_days_and_months_are_those_of_the_calendar_from_1970_to_2100(bench: Bench) -> None:
    """Each day's first and last millisecond."""
    library = resources.files("imagequeue.store").joinpath("scripts/_budget.lua").read_text()
    script = f"""{library}
    local found = {{}}
    for day = 0, tonumber(ARGV[1]) - 1 do
      local first, month = spending_fields(day * 86400000)
      local last, still = spending_fields(day * 86400000 + 86399999)
      assert(first == 'day:' .. day and last == first and month == still)
      found[#found + 1] = month
    end
    return found"""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    days = [epoch + timedelta(days=number) for number in range((datetime(2101, 1, 1, tzinfo=UTC) - epoch).days)]
    months = bench.raw.eval(script, 0, len(days))
    assert months == [f"month:{fields_of(day)[1]}" for day in days]


def fields_of(moment: datetime) -> tuple[int, int]:
    """The numbers of its day and month in the books."""
    return int(moment.timestamp()) // 86_400, moment.year * 12 + moment.month - 1


def next_start(moment: datetime, period: str) -> datetime:
    """When the next day or month begins."""
    begun = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "daily":
        return begun + timedelta(days=1)
    return (begun.replace(day=1) + timedelta(days=32)).replace(day=1)
