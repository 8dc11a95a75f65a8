"""What people see of a batch while it runs."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from imagequeue.batch_events import CountsView
from imagequeue.batch_views import BatchView, PauseView, ResultLine
from imagequeue.batches import BatchState, LineState
from imagequeue.cli.batch_folder import BatchFolder
from imagequeue.cli.batch_pauses import whys
from imagequeue.cli.batch_progress import BatchPanel, Rate
from imagequeue.jobs import PriceEstimate
from imagequeue.views import ImageView

NOW = datetime(2026, 8, 1, tzinfo=UTC)
BATCH = BatchView(
    id="batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z",
    state=BatchState.RUNNING,
    name="Spring\x1b[31m",
    pause=None,
    waiting_for=None,
    lines=10_000,
    images=10_000,
    images_made=3_690,
    counts=CountsView(waiting=6_240, in_flight=48, succeeded=3_690, failed=12, refused=10, cancelled=0),
    window=48,
    priority=0,
    max_cost_usd=60,
    estimate=PriceEstimate(low_usd=50, expected_usd=58.9, high_usd=58.9, price_table="2026-08"),
    cost_usd_estimated=21.73,
    possible_extra_cost_usd=0,
    reserved_usd=0.28,
    eta_seconds=1200,
    economy=False,
    deadline=None,
    at_openai=0,
    moved_to_real_time=0,
    webhook=None,
    created_at=NOW,
    started_at=NOW,
    finished_at=None,
    expires_at=None,
    results_url="/v1/batches/batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/results",
    skipped_lines=0,
)


def drawn(batch: BatchView, saved: int) -> str:
    """The panel as a terminal without colours shows it."""
    panel = BatchPanel(batch)
    panel.show(batch, saved)
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(panel)
    return console.export_text()


def test_the_panel_has_all_that_a_person_asks_and_no_control_characters_of_a_name() -> None:
    shown = drawn(BATCH, 3_688)
    assert "37% 3,712 of 10,000 lines" in shown
    assert "3,690 done · 12 failed · 10 refused · 0 cancelled · 48 in flight · 6,240 waiting" in shown
    assert "$21.73 of at most $60.00 · about 20 min left · 3,688 images saved" in shown
    assert "\x1b" not in shown


def test_the_panel_says_what_a_batch_waits_for_and_what_is_not_certain() -> None:
    waiting = BATCH.model_copy(update={"waiting_for": "room", "possible_extra_cost_usd": 0.5, "max_cost_usd": None})
    assert "waits for room" in drawn(waiting, 0)
    assert "$22.23 of about $58.90 ($0.5000 of it uncertain)" in drawn(waiting, 0)
    pause = PauseView(code="asked", message="You asked for it.", resumes_at=None)
    paused = BATCH.model_copy(update={"state": BatchState.PAUSED, "pause": pause, "eta_seconds": None})
    assert "You asked for it." in drawn(paused, 0)
    assert f"imagequeue batch resume {BATCH.id}" in drawn(paused, 0)
    assert "left" not in drawn(paused, 0)


@pytest.mark.parametrize(
    ("code", "resumes_at", "why", "command"),
    [
        ("asked", None, "You asked for it.", "resume"),
        ("max_cost_usd", None, "$21.73 of --max-cost, $60.00, are spent", "set"),
        ("budget_exceeded", NOW, "It goes on by itself at 2026-0", "resume"),
        ("budget_exceeded", None, "The line alone exceeds it: it goes on once", "resume"),
        ("newer", None, "what a newer API says", "resume"),
    ],
)
def test_a_pause_is_told_with_the_command_that_ends_it_and_not_with_the_apis_ways(
    code: str, resumes_at: datetime | None, why: str, command: str
) -> None:
    said = "what a newer API says" if code == "newer" else f"PATCH /v1/batches/{BATCH.id}"
    pause = PauseView(code=code, message=said, resumes_at=resumes_at)
    (told,) = whys(BATCH.model_copy(update={"state": BatchState.PAUSED, "pause": pause}))
    assert why in told
    assert f"imagequeue batch {command} {BATCH.id}" in told
    assert "/v1/" not in told


def test_what_a_batch_waits_for_has_the_names_of_options() -> None:
    waiting = BATCH.model_copy(update={"waiting_for": "lines to settle: the next one could exceed max_cost_usd"})
    assert whys(waiting) == ["waits for lines to settle: the next one could exceed --max-cost"]


def test_the_rate_is_that_of_the_last_minute() -> None:
    rate = Rate()
    rate.note(0, 100.0)
    assert rate.per_minute() == 0
    rate.note(10, 130.0)
    assert rate.per_minute() == 20
    for second in range(131, 231):
        rate.note(10, float(second))
    assert rate.per_minute() == 0


def image(index: int) -> ImageView:
    """An image of a job."""
    return ImageView(
        index=index,
        key="k",
        url="/u",
        preview_url="/p",
        filename=f"image-abc-{index}.png",
        mime_type="image/png",
        size_bytes=1,
        width=1,
        height=1,
        sha256="0",
    )


def test_files_are_named_by_the_lines_and_what_is_remembered_outlives_the_process(tmp_path: Path) -> None:
    line = ResultLine(
        line=0,
        position=0,
        custom_id="a/../b",
        state=LineState.SUCCEEDED,
        job_id="job_1",
        images=(image(0),),
        cost_usd_estimated=None,
    )
    several = line.model_copy(update={"images": (image(0), image(1))})
    with BatchFolder.opened(tmp_path / "new") as folder:
        assert list(folder.path.iterdir()) == [], "nothing is written before there is something to remember"
        assert folder.file_of(line, image(0)).parent == folder.path
        assert folder.file_of(several, image(1)).name == f"{folder.file_of(line, image(0)).stem}-1.png"
        folder.note_name("job_1", image(0), "other.png")
        folder.note(batch_id="batch_1", position=7)
    with BatchFolder.opened(tmp_path / "new") as folder:
        assert (folder.state.batch_id, folder.state.position) == ("batch_1", 7)
        assert folder.file_of(line, image(0)).name == "other.png"
        folder.forget()
        assert list(folder.path.iterdir()) == []
