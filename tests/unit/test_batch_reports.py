"""A batch's report counts what its lines came to, and its archive holds one piece of one image at a time."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from api.batch_pages import duration, money, spanned
from imagequeue.batch_lines import LineOutcome, ReadLine
from imagequeue.batch_reports import make_report
from imagequeue.batch_views import BatchView, CountsView
from imagequeue.batches import BatchState, LineRecord, LineState
from imagequeue.contact_tiles import columns, pages_of
from imagequeue.errors import ImageNotFound, ObjectsUnavailable
from imagequeue.image_archive import ImageArchive
from imagequeue.jobs import Attempt, Image, Job, JobError, JobState, NewJob, PriceEstimate, outcome_of
from imagequeue.objects import ObjectStore
from imagequeue.requests import GenerateRequest

BEGAN = 1_785_585_600_000
PRICE = PriceEstimate(low_usd=0.1, expected_usd=1.5, high_usd=1200.0)
KINDS = {
    LineState.SUCCEEDED: JobState.SUCCEEDED,
    LineState.FAILED: JobState.FAILED,
    LineState.REFUSED: JobState.FAILED,
    LineState.CANCELLED: JobState.CANCELLED,
}
PIECES = 3


def line(
    number: int,
    state: LineState = LineState.SUCCEEDED,
    seconds: float = 1,
    error: JobError | None = None,
    **changes: Any,
) -> ReadLine:
    """A line whose job took so long."""
    new = NewJob(
        request=GenerateRequest(prompt=f"Scene {number // 2}", n=2),
        owner="owner-1",
        lane="batch",
        model="gpt-image-2",
        on_unknown_outcome="retry",
        custom_id=f"line-{number}",
    )
    tries = changes.pop("tries", 1)
    job = Job(
        **new.model_dump(exclude={"idempotency", "request", "session_id", "custom_id"}),
        type="generate",
        request=new.request,
        custom_id=new.custom_id,
        state=KINDS[state],
        fingerprint=new.fingerprint,
        estimate=new.estimate,
        created_at=BEGAN,
        started_at=BEGAN,
        finished_at=BEGAN + round(seconds * 1000),
        attempts=tuple(Attempt(number=one + 1, worker="w", started=BEGAN) for one in range(tries)),
        error=error,
    ).model_copy(update=changes)
    return ReadLine(LineRecord(number, state, job.id), f"line-{number}", job, None)


def outcomes(*lines: ReadLine) -> list[LineOutcome]:
    """What a report is told of them."""
    return [
        LineOutcome(one.record, one.custom_id, outcome_of(one.job) if one.job else None, one.fault) for one in lines
    ]


def batch(**changes: object) -> BatchView:
    """A batch that took a minute."""
    began = datetime.fromtimestamp(BEGAN / 1000, UTC)
    fields: dict[str, object] = {
        **dict.fromkeys(("name", "pause", "waiting_for", "max_cost_usd", "webhook", "expires_at", "deadline"), None),
        "id": "batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z",
        "state": BatchState.COMPLETED,
        "lines": 100,
        "images": 200,
        "images_made": 30,
        "counts": CountsView(waiting=0, in_flight=0, succeeded=100, failed=0, refused=0, cancelled=0),
        "window": 10,
        "economy": False,
        "at_openai": 0,
        "moved_to_real_time": 0,
        "priority": 0,
        "estimate": PRICE,
        "cost_usd_estimated": 0.6,
        "possible_extra_cost_usd": 0,
        "reserved_usd": 0,
        "created_at": began,
        "started_at": began,
        "finished_at": datetime.fromtimestamp(BEGAN / 1000 + 60, UTC),
        "results_url": "/",
        "skipped_lines": 0,
    }
    return BatchView.model_validate(fields | changes)


def test_percentiles_are_times_that_lines_really_took() -> None:
    report = make_report(batch(), outcomes(*(line(number, seconds=number + 1) for number in range(100))))
    assert report.line_seconds
    assert report.line_seconds.model_dump() == {"lines": 100, "p50": 50, "p95": 95, "longest": 100}
    assert [slow.seconds for slow in report.slowest] == list(range(100, 90, -1))
    assert report.slowest[0].custom_id == "line-99"
    assert (report.seconds, report.images_per_minute, report.cost_usd_per_image) == (60, 30, 0.02)


def test_refusals_are_counted_by_what_the_safety_system_names_and_failures_by_their_code() -> None:
    refused = JobError(code="moderation_blocked", message="no", categories=("violence", "self-harm"))
    nameless = JobError(code="moderation_blocked", message="no reason")
    failed = JobError(code="bad_output", message="no image in it")
    fault = ReadLine(LineRecord(9, LineState.FAILED), "line-9", None, JobError(code="input_missing", message="gone"))
    lines = [
        *(line(number, LineState.REFUSED, error=refused) for number in range(6)),
        line(6, LineState.REFUSED, error=nameless),
        line(7, LineState.FAILED, error=failed),
        line(8, LineState.FAILED, error=failed),
        fault,
        line(10, LineState.CANCELLED),
    ]
    report = make_report(batch(), outcomes(*lines))
    assert [(one.reason, one.lines) for one in report.refusals] == [
        ("violence, self-harm", 6),
        ("moderation_blocked", 1),
    ]
    assert report.refusals[0].custom_ids == tuple(f"line-{number}" for number in range(5))
    assert [(one.reason, one.lines, one.message) for one in report.failures] == [
        ("bad_output", 2, "no image in it"),
        ("input_missing", 1, "gone"),
    ]
    assert report.line_seconds is None


def test_repeated_and_reused_lines_are_counted() -> None:
    reused = line(0, reused_from="job_1", started_at=None, attempts=())
    report = make_report(batch(), outcomes(reused, line(1, tries=3), line(2)))
    assert (report.reused_lines, report.repeated_lines) == (1, 1)
    assert report.line_seconds
    assert report.line_seconds.lines == 2
    assert report.slowest[0].attempts in (1, 3)


def test_a_batch_that_has_not_begun_has_no_figures() -> None:
    report = make_report(batch(started_at=None, finished_at=None, images_made=0), [])
    assert (report.seconds, report.images_per_minute, report.cost_usd_per_image, report.line_seconds) == (None,) * 4


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0.04, "0.0 s"), (9.96, "10.0 s"), (42.4, "42 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_money_has_as_many_digits_as_it_needs() -> None:
    assert [money(dollars) for dollars in (None, 0.0, 0.0059, 12.4, 1234.5)] == [
        "unknown",
        "$0.00",
        "$0.0059",
        "$12.40",
        "$1,234.50",
    ]
    assert spanned(PRICE) == "$1.50 ($0.1000 to $1,200.00)"
    assert spanned(PriceEstimate(low_usd=1, expected_usd=1, high_usd=1)) == "$1.00"


def test_pictures_of_a_line_stand_in_a_square_and_pages_have_a_hundred_lines() -> None:
    assert [columns(count) for count in (0, 1, 2, 4, 5, 9, 10)] == [1, 1, 2, 2, 3, 3, 4]
    assert [pages_of(lines) for lines in (0, 1, 100, 101, 50_000)] == [1, 1, 1, 2, 500]


class Shelf:
    """Objects of three pieces each, and how many of those were taken."""

    def __init__(self, *missing: str, broken: str = "") -> None:
        self.missing, self.broken = missing, broken
        self.opened: list[str] = []
        self.taken = 0

    def open(self, key: str) -> Iterator[bytes]:
        """As ObjectStore does."""
        if key in self.missing:
            raise ImageNotFound(key)
        self.opened.append(key)
        return self._pieces(key)

    def _pieces(self, key: str) -> Iterator[bytes]:
        for number in range(PIECES):
            if key == self.broken and number:
                raise ObjectsUnavailable("S3 went away")
            self.taken += 1
            yield key.encode()


def pictures(number: int) -> tuple[Image, ...]:
    """Two images of a line."""
    return tuple(
        Image(
            index=index,
            key=f"{number}/{index}",
            preview_key=f"{number}/{index}.webp",
            filename="a.png",
            mime_type="image/png",
            size_bytes=PIECES * len(f"{number}/{index}"),
            width=1024,
            height=1024,
            sha256="ab" * 32,
        )
        for index in range(2)
    )


def archive(shelf: Shelf, lines: list[ReadLine], *, by_prompt: bool = False) -> Iterator[bytes]:
    """The pieces of the lines' archive."""

    def request_of(line: ReadLine) -> GenerateRequest:
        assert line.job
        assert isinstance(line.job.request, GenerateRequest)
        return line.job.request

    return iter(ImageArchive(cast("ObjectStore", shelf), lines, request_of, by_prompt=by_prompt))


def unpacked(pieces: Iterator[bytes]) -> zipfile.ZipFile:
    """The archive, which must be whole."""
    found = zipfile.ZipFile(io.BytesIO(b"".join(pieces)))
    assert found.testzip() is None
    return found


def test_an_archive_has_every_image_under_the_lines_name_and_an_index() -> None:
    found = unpacked(archive(Shelf(), [line(number, images=pictures(number)) for number in range(3)]))
    names = [f"line-{number}-{index}.png" for number in range(3) for index in range(2)]
    assert found.namelist() == [*names, "index.jsonl"]
    assert found.read("line-2-1.png") == b"2/1" * PIECES
    index = [json.loads(one) for one in found.read("index.jsonl").splitlines()]
    assert [one["file"] for one in index] == names
    assert (index[5]["custom_id"], index[5]["index"], index[5]["prompt"]) == ("line-2", 1, "Scene 1")


def test_folders_are_named_by_their_prompts_and_shared_by_equal_ones() -> None:
    lines = [line(number, images=pictures(number)[:1]) for number in range(3)]
    found = unpacked(archive(Shelf(), lines, by_prompt=True))
    assert found.namelist()[:3] == ["Scene 0/line-0-0.png", "Scene 0/line-1-0.png", "Scene 1/line-2-0.png"]


def test_lines_without_images_are_in_a_list_of_their_own() -> None:
    refused = line(0, LineState.REFUSED, error=JobError(code="moderation_blocked", message="no"))
    deleted = line(2, images=())
    found = unpacked(archive(Shelf("1/0"), [refused, line(1, images=pictures(1)), deleted]))
    assert found.namelist() == ["line-1-1.png", "index.jsonl", "failed.jsonl"]
    failed = [json.loads(one) for one in found.read("failed.jsonl").splitlines()]
    assert [(one["custom_id"], one["state"], one["error"]["code"]) for one in failed] == [
        ("line-0", "refused", "moderation_blocked"),
        ("line-1", "succeeded", "image_not_found"),
        ("line-2", "succeeded", "image_not_found"),
    ]
    assert failed[0]["request"] == {"prompt": "Scene 0", "n": 2}


def test_one_piece_of_one_image_is_taken_at_a_time() -> None:
    shelf = Shelf()
    pieces = archive(shelf, [line(number, images=pictures(number)) for number in range(50)])
    assert shelf.opened == []
    for sent, _ in enumerate(pieces, 1):
        assert shelf.taken <= sent
        assert (len(shelf.opened) - 1) * PIECES <= shelf.taken
    assert shelf.taken == 100 * PIECES


def test_a_failing_store_breaks_the_archive_off() -> None:
    pieces = archive(Shelf(broken="1/1"), [line(number, images=pictures(number)) for number in range(3)])
    with pytest.raises(ObjectsUnavailable):
        b"".join(pieces)
