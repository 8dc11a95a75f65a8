"""Batches on real workers: every line once whatever dies, interactive jobs at once, fair shares in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from batch_kit import lines
from fleet_kit import PATIENCE_SECONDS, Fleet
from manifest_kit import good, jsonl, read

from imagequeue.batch_requests import BatchOptions
from imagequeue.batch_views import BatchView
from imagequeue.batches import BatchState
from imagequeue.jobs import JobState
from imagequeue.store.keys import Keys
from imagequeue.submission import Terms

OWNER: Final = "local"


def submit(fleet: Fleet, words: str, count: int, owner: str = OWNER, **options: object) -> BatchView:
    """A batch of small requests whose prompts begin with these words."""
    manifest = good(read(jsonl(*lines(count, words))))
    return fleet.queue.batches.create(manifest, BatchOptions.model_validate(options), Terms(owner))[0]


def ended(fleet: Fleet, batch: BatchView) -> BatchView:
    """The batch once it is completed."""
    view = fleet.queue.batches.wait(batch.id, 3 * PATIENCE_SECONDS, owner=OWNER)
    assert view.state is BatchState.COMPLETED, view
    return view


def order_of_calls(fleet: Fleet, words: Sequence[str]) -> str:
    """Which batch each call was for, a letter each, in the order of their arrival."""
    prompts = [str(call["prompt"]) for call in fleet.sandbox.calls()]
    return "".join(word[-1] for prompt in prompts for word in words if prompt.startswith(f"{word} "))


def test_every_line_succeeds_once_when_workers_are_killed(fleet: Fleet) -> None:
    fleet.sandbox.set_latency(0.3)
    often = {"IMAGEQUEUE_UNKNOWN_RETRIES": "9", "IMAGEQUEUE_MAX_WORKER_LOSSES": "9"}
    first, _ = fleet.start_worker(**often), fleet.start_worker(**often)
    batch = submit(fleet, "batch killed", 80, window=30)
    fleet.eventually(lambda: len(fleet.sandbox.calls_beginning("batch killed ")) >= 15)
    fleet.kill(first)
    fleet.eventually(lambda: len(fleet.sandbox.calls_beginning("batch killed ")) >= 45)
    for worker in tuple(fleet.workers):
        fleet.kill(worker)
    fleet.start_worker(**often)
    view = ended(fleet, batch)
    assert (view.counts.succeeded, view.counts.failed, view.images_made) == (80, 0, 80)
    results = list(fleet.queue.batches.results(batch.id, owner=OWNER))
    assert [line.custom_id for line in results] == [f"line-{number}" for number in range(80)]
    jobs = [fleet.queue.get(line.job_id) for line in results if line.job_id]
    calls = sum(attempt.call_started is not None for job in jobs for attempt in job.attempts)
    # A worker may be killed between the note that a call begins and the call.
    assert 80 < len(fleet.sandbox.calls_beginning("batch killed ")) <= calls, "each call is one that a record tells of"
    unknown = sum(job.possible_extra_cost_usd for job in jobs)
    assert abs(view.possible_extra_cost_usd - unknown) < 1e-6
    assert unknown > 0
    assert view.reserved_usd == 0
    assert fleet.redis.hgetall(Keys(fleet.settings.key_prefix).batches_flying) == {}


def test_an_interactive_job_does_not_wait_behind_a_batch_of_long_calls(fleet: Fleet) -> None:
    fleet.sandbox.add_fault({"hang": True}, prompt="batch long line", times=100)
    fleet.start_worker(IMAGEQUEUE_WORKER_SLOTS="10")
    batch = submit(fleet, "batch long line", 100)
    fleet.eventually(lambda: len(fleet.sandbox.calls_beginning("batch long line")) == 9)
    job = fleet.finished(fleet.submit("in between"))
    assert job.state is JobState.SUCCEEDED
    counts = fleet.queue.batches.get(batch.id, owner=OWNER).counts
    assert (counts.in_flight, counts.waiting) == (9, 91), (
        "the batch was busy all the time, and took no more than it may"
    )


def test_a_batch_that_comes_later_has_its_turn_at_once_and_both_share(fleet: Fleet) -> None:
    fleet.sandbox.set_latency(0.1)
    fleet.start_worker(IMAGEQUEUE_WORKER_SLOTS="5")
    words = ("batch fair A", "batch fair B")
    submit(fleet, words[0], 100)
    fleet.eventually(lambda: len(order_of_calls(fleet, words)) >= 10)
    late = submit(fleet, words[1], 20, owner="another")
    fleet.eventually(lambda: fleet.queue.batches.get(late.id, owner="another").state is BatchState.COMPLETED)
    order = order_of_calls(fleet, words)
    shared = order[order.index("B") : order.rindex("B") + 1]
    assert 15 <= shared.count("A") <= 25, shared


def test_a_higher_priority_goes_first_behind_what_has_begun(fleet: Fleet) -> None:
    fleet.sandbox.set_latency(0.1)
    fleet.start_worker(IMAGEQUEUE_WORKER_SLOTS="5")
    words = ("batch prior A", "batch prior B")
    submit(fleet, words[0], 60)
    fleet.eventually(lambda: len(order_of_calls(fleet, words)) >= 5)
    ended(fleet, submit(fleet, words[1], 10, priority=1))
    order = order_of_calls(fleet, words)
    assert order[order.index("B") : order.rindex("B")].count("A") <= 4, order


def test_behind_a_rate_limit_few_lines_are_parked_and_both_batches_share(fleet: Fleet) -> None:
    fleet.start_worker(IMAGEQUEUE_IMAGES_PER_MINUTE="600")
    words = ("batch limited A", "batch limited B")
    waiting = Keys(fleet.settings.key_prefix).waiting("batch")
    submit(fleet, words[0], 200)
    fleet.eventually(lambda: len(order_of_calls(fleet, words)) >= 15)
    late, before = submit(fleet, words[1], 15, owner="another"), len(order_of_calls(fleet, words))
    most = 0
    while fleet.queue.batches.wait(late.id, 0.1, owner="another").state is BatchState.RUNNING:
        most = max(most, fleet.redis.zcard(waiting))
    assert 5 <= most <= 20
    order = order_of_calls(fleet, words)
    assert order.index("B") <= before + 25, order
    assert order[: order.rindex("B")].count("A") < 100, order
