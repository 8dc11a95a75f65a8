"""The commands under `imagequeue batch` that look at batches and steer them."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from imagequeue.batch_requests import Again, ResultOrder
from imagequeue.batch_views import BatchPage, BatchView
from imagequeue.cli.batch_pauses import whys
from imagequeue.cli.batch_progress import ended, spend, time_left
from imagequeue.cli.connection import connect
from imagequeue.cli.exits import ExitCode, say
from imagequeue.cli.output import dollars, local_time, one_line, print_json, print_line, print_table
from imagequeue.client import Client
from imagequeue.estimates import in_words
from imagequeue.saving import draft_of

_LARGEST_PAGE = 100
_LONG = 2000


def list_batches(limit: int, *, as_json: bool) -> None:
    """Print the newest batches, fetching as many pages as `limit` needs."""
    with connect() as client:
        page = _collect(client, limit)
    if as_json:
        print_json(page)
        return
    rows = [
        (
            batch.id,
            batch.state,
            f"{ended(batch):,}/{batch.lines:,}",
            f"{batch.counts.failed + batch.counts.refused:,}",
            dollars(batch.cost_usd_estimated),
            local_time(batch.created_at),
            one_line(batch.name or ""),
        )
        for batch in page.batches
    ]
    if not rows:
        say("No batches yet. Run one: imagequeue batch run lines.jsonl -o images")
        return
    print_table(("id", "state", "ended", "not made", "cost", "created", "name"), rows, long={"name"})
    if page.next_cursor:
        say(f"There are more; see them with --limit {limit * 2}.")


def show(batch_id: str, *, as_json: bool) -> None:
    """Print all about one batch."""
    with connect() as client:
        batch = client.batches.get(batch_id)
    _print(batch, as_json=as_json)


def results(batch_id: str, order: ResultOrder, file: Path | None) -> None:
    """Print how lines ended as JSONL, or write it to a file that appears when it is whole."""
    with connect() as client, closing(client.batches.results(batch_id, order=order)) as lines:
        if file is None:
            for line in lines:
                print_line(line.model_dump_json())
            return
        with _written(file), draft_of(file) as draft:
            with draft.open("w", encoding="utf-8") as written:
                written.writelines(f"{line.model_dump_json()}\n" for line in lines)
            draft.replace(file)


def images_zip(batch_id: str, file: Path | None, *, by_prompt: bool) -> None:
    """Save all images as one ZIP."""
    file = file or Path(f"{batch_id}.zip")
    with connect() as client, _written(file):
        client.batches.save_zip(batch_id, file, folders="prompt" if by_prompt else "none")


def report(batch_id: str, file: Path | None, page: int, *, as_json: bool) -> None:
    """Print what a batch came to, or save that as a page."""
    with connect() as client:
        if file:
            with _written(file):
                client.batches.save_report(batch_id, file, page)
            return
        found = client.batches.report(batch_id)
    if as_json:
        print_line(json.dumps(found, indent=2, ensure_ascii=False))
        return
    batch = BatchView.model_validate(found["batch"], extra="ignore")
    for name, value in (*_facts(batch), *_report_facts(found)):
        _print_fact(name, value)


def pause(batch_id: str, *, as_json: bool) -> None:
    """Begin no more lines of a batch."""
    with connect() as client:
        batch = client.batches.pause(batch_id)
    _print(batch, as_json=as_json)


def resume(batch_id: str, *, as_json: bool) -> None:
    """Let a batch go on."""
    with connect() as client:
        batch = client.batches.resume(batch_id)
    _print(batch, as_json=as_json)


def cancel(batch_id: str, *, running: bool, as_json: bool) -> None:
    """Cancel what waits of a batch."""
    with connect() as client:
        batch = client.batches.cancel(batch_id, running=running)
    _print(batch, as_json=as_json)


def retry(batch_id: str, *, refused: bool, cancelled: bool, as_json: bool) -> None:
    """Run lines again that failed, or did not succeed for other reasons."""
    more: tuple[tuple[Again, bool], ...] = (("refused", refused), ("cancelled", cancelled))
    states: list[Again] = ["failed", *(state for state, asked in more if asked)]
    with connect() as client:
        batch = client.batches.retry_failed(batch_id, states)
    _print(batch, as_json=as_json)


def change(batch_id: str, max_cost: str | None, window: int | None, priority: int | None, *, as_json: bool) -> None:
    """Change how a batch is run."""
    given = {"window": window, "priority": priority}
    changes: dict[str, float | None] = {name: value for name, value in given.items() if value is not None}
    if max_cost is not None:
        changes["max_cost_usd"] = _cap(max_cost)
    if not changes:
        say("Give what is to be changed: --max-cost, --window or --priority.")
        sys.exit(ExitCode.BAD_INPUT)
    with connect() as client:
        batch = client.batches.change(batch_id, **changes)
    _print(batch, as_json=as_json)


def _cap(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        say(f"--max-cost: must be dollars, or `none`; given {one_line(text)}, for example 25.50")
        sys.exit(ExitCode.BAD_INPUT)


def _collect(client: Client, limit: int) -> BatchPage:
    page = client.batches.list(limit=min(limit, _LARGEST_PAGE))
    batches = page.batches
    while page.next_cursor and len(batches) < limit:
        page = client.batches.list(page.next_cursor, min(limit - len(batches), _LARGEST_PAGE))
        batches += page.batches
    return BatchPage(batches=batches, next_cursor=page.next_cursor)


def _print(batch: BatchView, *, as_json: bool) -> None:
    if as_json:
        print_json(batch)
        return
    for name, value in _facts(batch):
        _print_fact(name, value)


def _print_fact(name: str, value: str) -> None:
    print_line(f"{name + ':':<10} {value}")


@contextmanager
def _written(file: Path) -> Generator[None]:
    """Names the file when it was written; the command ends when it could not be."""
    try:
        yield
    except OSError as error:
        say(f"--output: cannot be written ({error})")
        sys.exit(ExitCode.BAD_INPUT)
    print_line(str(file))


def _report_facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = found["line_seconds"]
    facts = [("Time", in_words(found["seconds"]))] if found["seconds"] else []
    if found["images_per_minute"]:
        facts.append(("Pace", f"{found['images_per_minute']:,.1f} images per minute"))
    if lines:
        facts.append(("A line", f"half within {lines['p50']:.1f} s, 95 of 100 within {lines['p95']:.1f} s"))
    if found["cost_usd_per_image"]:
        facts.append(("An image", dollars(found["cost_usd_per_image"])))
    for name, reasons in (("Refused", found["refusals"]), ("Failed", found["failures"])):
        facts += [(name, f"{one['lines']:,} {one['reason']}: {one_line(one['message'], _LONG)}") for one in reasons]
    return facts


def _facts(batch: BatchView) -> list[tuple[str, str]]:
    counts = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in batch.counts.model_dump().items())
    cap = "" if batch.max_cost_usd is None else f", never more than {dollars(batch.max_cost_usd)}"
    estimate = batch.estimate
    facts = [
        ("Batch", batch.id),
        ("Name", one_line(batch.name or "", _LONG)),
        ("State", ", ".join((batch.state, *time_left(batch)))),
        ("Why", "; ".join(one_line(why, _LONG) for why in whys(batch))),
        ("Lines", f"{batch.lines:,}: {counts}"),
        ("Images", f"{batch.images_made:,} of {batch.images:,}"),
        ("Cost", spend(batch)),
        ("Estimate", f"{dollars(estimate.low_usd)} to {dollars(estimate.high_usd)}{cap}"),
        ("Window", f"{batch.window:,} lines in flight at most, priority {batch.priority}"),
        ("Created", local_time(batch.created_at)),
        ("Finished", local_time(batch.finished_at)),
        ("Left out", f"{batch.skipped_lines:,} bad lines" if batch.skipped_lines else ""),
        ("Deleted", local_time(batch.expires_at)),
    ]
    return [(name, value) for name, value in facts if value]
