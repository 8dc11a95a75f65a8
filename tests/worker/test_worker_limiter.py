"""What the fleet's limiter promises, as OpenAI sees it: several workers, one account, and no call too many."""

from __future__ import annotations

from fleet_kit import Fleet

from imagequeue.jobs import AttemptOutcome, Job, JobState
from imagequeue.requests import parse_request
from imagequeue.store.keys import Keys

BUSY, SUCCEEDED = AttemptOutcome.BUSY, AttemptOutcome.SUCCEEDED
PER_MINUTE, JOBS, WORKERS = 600, 120, 3
WINDOW_SECONDS = 6.0
WINDOW_IMAGES = int(0.02 * PER_MINUTE + 0.98 * PER_MINUTE * WINDOW_SECONDS / 60) + 5
"""What any window of 6 s may hold when no minute holds more than the limit: what the full bucket gives at once and what
flows into it meanwhile, and five for calls that travel half a second longer than others on a busy machine."""


def batch_job(fleet: Fleet, prompt: str) -> Job:
    """A small job that nobody sits and waits for."""
    request = {"prompt": prompt, "quality": "low", "output_format": "jpeg"}
    return fleet.queue.submit(parse_request(request), lane="batch").job


def parked(fleet: Fleet) -> int:
    """How many batch jobs wait for the limiter."""
    return fleet.redis.zcard(Keys(fleet.settings.key_prefix).parked("batch"))


def pretend_to_have_made(fleet: Fleet, images: int) -> None:
    """Let the limiter's hash say that the fleet made so many images in this minute."""
    made = {"minute": int(fleet.redis.time()[0]) // 60, "images_now": images, "images_before": 0}
    fleet.redis.hset(Keys(fleet.settings.key_prefix).limiter, mapping=made)


def test_three_workers_use_a_limit_to_95_percent_and_are_never_refused(fleet: Fleet) -> None:
    for _ in range(WORKERS):
        fleet.start_worker(IMAGEQUEUE_IMAGES_PER_MINUTE=str(PER_MINUTE))
    with fleet.sandbox.limited(WINDOW_IMAGES, WINDOW_SECONDS):
        jobs = [fleet.submit(f"limited {number}") for number in range(JOBS)]
        ended = [fleet.finished(job) for job in jobs]
    calls = fleet.sandbox.calls_beginning("limited ")
    assert [call["status"] for call in calls] == [200] * JOBS
    assert {job.state for job in ended} == {JobState.SUCCEEDED}
    assert len({job.attempts[0].worker for job in ended}) == WORKERS, "a test of one limiter for many workers"
    minutes = (calls[-1]["received_ms"] - calls[0]["received_ms"]) / 60_000
    print(f"\n{JOBS / minutes:.0f} images a minute of {PER_MINUTE}")
    assert JOBS / minutes >= 0.95 * PER_MINUTE


def test_an_interactive_job_behind_a_hundred_parked_batch_jobs_is_called_next(fleet: Fleet) -> None:
    fleet.start_worker(IMAGEQUEUE_IMAGES_PER_MINUTE="60")
    batch = [batch_job(fleet, f"patient {number}") for number in range(100)]
    fleet.eventually(lambda: parked(fleet) >= 90)
    waiting_for = fleet.queue.view(fleet.queue.get(batch[-1].id)).waiting_for or ""
    assert waiting_for.startswith("room within OpenAI's rate limits (60 images a minute: about ")
    before = len(fleet.sandbox.calls_beginning("patient "))
    urgent = fleet.finished(fleet.submit("urgent"))
    assert urgent.state is JobState.SUCCEEDED
    (call,) = fleet.sandbox.calls_beginning("urgent")
    earlier = [other for other in fleet.sandbox.calls_beginning("patient ") if other["number"] < call["number"]]
    assert len(earlier) <= before + 1, "at most the one that was let go already went first"
    assert fleet.queue.get(batch[-1].id).state is JobState.QUEUED


def test_a_429_pauses_the_whole_fleet_for_as_long_as_openai_asks(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.start_worker()
    pretend_to_have_made(fleet, 1200)
    fleet.sandbox.add_fault({"status": 429, "headers": {"retry-after": "2"}}, prompt="told to wait")
    first = fleet.submit("told to wait 0")
    fleet.eventually(lambda: "that OpenAI asked for" in (fleet.queue.view(fleet.queue.get(first.id)).waiting_for or ""))
    assert "a pause" in fleet.queue.health()["openai"].detail
    jobs = [first, *(fleet.submit(f"told to wait {number}") for number in range(1, 20))]
    ended = [fleet.finished(job) for job in jobs]
    refusal, *later = fleet.sandbox.calls_beginning("told to wait")
    assert min(call["received_ms"] for call in later) >= refusal["settled_ms"] + 2000
    assert [call["status"] for call in (refusal, *later)] == [429, *[200] * 20]
    assert {job.state for job in ended} == {JobState.SUCCEEDED}
    assert [attempt.outcome for attempt in ended[0].attempts] == [BUSY, SUCCEEDED]
    assert [len(job.attempts) for job in ended[1:]] == [1] * 19, "who waits is not tried in vain"
    assert sum(job.possible_extra_cost_usd for job in ended) == 0
    assert fleet.queue.health()["openai"].ok


def test_429s_teach_a_fleet_that_knows_no_limit_and_every_job_is_served_once(fleet: Fleet) -> None:
    fleet.start_worker()
    pretend_to_have_made(fleet, 1200)
    with fleet.sandbox.limited(10, 1.0):
        ended = [fleet.finished(job) for job in [fleet.submit(f"taught {number}") for number in range(30)]]
    assert {job.state for job in ended} == {JobState.SUCCEEDED}
    answered = [call["prompt"] for call in fleet.sandbox.calls_beginning("taught ") if call["status"] == 200]
    assert sorted(answered) == sorted(job.request.prompt for job in ended)
    assert sum(job.possible_extra_cost_usd for job in ended) == 0
    refusals = len(fleet.sandbox.calls_beginning("taught ")) - len(answered)
    print(f"\n{refusals} refusals for {len(ended)} jobs")
    assert 0 < refusals <= 2 * len(ended)
