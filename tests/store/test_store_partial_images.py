"""Previews of unfinished images: noted once, in order, by the attempt's holder alone."""

from __future__ import annotations

from typing import cast

from store_kit import SUCCEEDED, Bench

from imagequeue.jobs import AttemptOutcome, PartialImage


def preview(partial_index: int, attempt: int = 1) -> PartialImage:
    """A stored preview."""
    return PartialImage(
        partial_index=partial_index,
        key=f"images/job/{attempt}/partial-{partial_index}.png",
        mime_type="image/png",
        size="1024x1024",
        size_bytes=50_000,
    )


def test_a_preview_is_noted_in_its_attempt_and_told(bench: Bench) -> None:
    claim = bench.claimed()
    assert bench.store.partial_image(claim, preview(0)) == "noted"
    told = cast("dict[str, object]", bench.last_event_data(claim.job.id))
    assert told.pop("at")
    assert told == {
        "index": 0,
        "partial_index": 0,
        "url": f"/v1/jobs/{claim.job.id}/partials/0",
        "mime_type": "image/png",
        "size": "1024x1024",
        "size_bytes": 50_000,
        "attempt": 1,
    }
    assert bench.store.partial_image(claim, preview(1)) == "noted"
    job = bench.store.get(claim.job.id)
    assert job.attempts[0].partial_images == job.partial_images == (preview(0), preview(1))
    assert bench.changes()[-2:] == [(job.id, "partial_image")] * 2


def test_a_preview_that_is_sent_again_is_told_once(bench: Bench) -> None:
    claim = bench.claimed()
    assert [bench.store.partial_image(claim, preview(0)) for _ in range(2)] == ["noted"] * 2
    assert bench.events(claim.job.id) == ["queued", "running", "partial_image"]
    assert bench.store.get(claim.job.id).partial_images == (preview(0),)


def test_a_preview_of_somebody_who_lost_the_job_is_refused(bench: Bench) -> None:
    stale = bench.claimed()
    bench.taken_back(stale)
    current = bench.claimed(stale.job, "worker-2/b")
    assert bench.store.partial_image(stale, preview(0)) == "refused"
    bench.store.finish(current, SUCCEEDED)
    assert bench.store.partial_image(current, preview(0)) == "refused"
    assert "partial_image" not in bench.events(stale.job.id)


def test_the_previews_of_the_newest_attempt_are_the_jobs_and_older_ones_can_still_be_found(bench: Bench) -> None:
    first = bench.claimed()
    for index in (0, 1):
        bench.store.partial_image(first, preview(index))
    bench.released(first, outcome=AttemptOutcome.UNKNOWN)
    second = bench.claimed(first.job, "worker-2/b")
    assert bench.store.get(first.job.id).partial_images == (preview(0), preview(1))
    bench.store.partial_image(second, preview(0, attempt=2))
    job = bench.store.get(first.job.id)
    assert job.partial_images == (preview(0, attempt=2),)
    assert [job.partial_image(index) for index in (0, 1, 2)] == [preview(0, attempt=2), preview(1), None]


def test_later_steps_of_an_attempt_keep_its_previews(bench: Bench) -> None:
    claim = bench.claimed()
    bench.store.start_call(claim, "direct")
    bench.store.partial_image(claim, preview(0))
    bench.store.answered(claim)
    bench.store.finish(claim, SUCCEEDED)
    assert bench.store.get(claim.job.id).partial_images == (preview(0),)
