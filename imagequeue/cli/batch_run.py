"""Carries out `imagequeue batch run` and `attach`: from a manifest to a folder of images, and never bought twice."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import typer

from imagequeue.api_answers import ApiProblem, ApiUnreachable
from imagequeue.batch_views import BatchView
from imagequeue.batches import BatchState
from imagequeue.cli.batch_estimate import refuse_lines, say_estimate
from imagequeue.cli.batch_folder import BatchFolder
from imagequeue.cli.batch_pauses import way_on, why_paused
from imagequeue.cli.batch_progress import shown, spend
from imagequeue.cli.batch_saver import Ending, Saver
from imagequeue.cli.connection import connect
from imagequeue.cli.exits import ExitCode, fail, say
from imagequeue.cli.output import one_line, print_json, print_line
from imagequeue.client import Client, DamagedDownload
from imagequeue.errors import ImageQueueError
from imagequeue.estimate_views import EstimateView
from imagequeue.estimates import in_dollars

_LOOK_SECONDS: Final = 1.0
_KEPT_SECONDS: Final = 23 * 3600
"""The API knows an Idempotency-Key for 24 hours."""
_STEERED: Final = ("max_cost_usd", "window", "priority")
"""Options that may be changed later."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """A manifest to be run: what is bought, on which terms."""

    file: Path
    lines: Mapping[str, Any]  # `template`, `skip_invalid`: with the file and the folder, what is bought
    terms: Mapping[str, Any]  # the further options of the batch; None: not given
    confirm_above: float | None  # dollars; None: never ask
    as_json: bool

    def key(self, folder: Path) -> str:
        """The same for the same lines in the same folder."""
        with self.file.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        told = json.dumps([content, dict(self.lines), str(folder.resolve())], sort_keys=True)
        return f"cli-{hashlib.sha256(told.encode()).hexdigest()}"


def run(purchase: Purchase, path: Path) -> None:
    """Submit a batch unless this folder has it, and save it; the command ends with the code that fits."""
    with _opened(path) as folder, connect() as client:
        key = purchase.key(path)
        known = folder.state
        if known.manifest is None and known.batch_id is None:
            _confirm(client, purchase)
            _submit(client, folder, purchase, key)
        elif known.manifest != key:
            _refuse_folder(folder)
        elif known.batch_id is None:
            _submit_again(client, folder, purchase, key)
        batch = _known(client, folder)
        if known.manifest is not None:
            say(f"{batch.id} goes on: these lines were submitted for this folder before, and are not bought again.")
            batch = _steer(client, batch, purchase.terms)
        _save(client, folder, batch, as_json=purchase.as_json)


def attach(batch_id: str, path: Path, *, as_json: bool) -> None:
    """Save a batch that was submitted before; the command ends with the code that fits."""
    with _opened(path) as folder, connect() as client:
        if folder.state.batch_id not in (None, batch_id) or (folder.state.manifest and not folder.state.batch_id):
            _refuse_folder(folder)
        batch = client.batches.get(batch_id)
        folder.note(batch_id=batch_id)
        _save(client, folder, batch, as_json=as_json)


def _confirm(client: Client, purchase: Purchase) -> None:
    """Tell what it will come to, and ask whether that may be spent."""
    try:
        found = client.manifests.estimate(purchase.file, **purchase.lines, **_estimated(purchase.terms))
    except ApiProblem as error:
        refuse_lines(error)
    say_estimate(found)
    most = _most(found, purchase.terms.get("max_cost_usd"))
    if purchase.confirm_above is None or most <= purchase.confirm_above:
        return
    if not sys.stdin.isatty():
        say(
            f"This may cost up to {in_dollars(most)}, more than --confirm-above, {in_dollars(purchase.confirm_above)}, "
            "and nobody can be asked. Nothing was submitted. Add --yes, or a --max-cost that you agree to."
        )
        sys.exit(ExitCode.BAD_INPUT)
    if not typer.confirm(f"Spend up to {in_dollars(most)}?", err=True):
        say("Nothing was submitted.")
        sys.exit(ExitCode.FAILED)


def _estimated(terms: Mapping[str, Any]) -> dict[str, Any]:
    return {name: terms.get(name) for name in ("max_cost_usd", "window", "completion_window")}


def _most(found: EstimateView, cap: float | None) -> float:
    return found.high_usd if cap is None else min(found.high_usd, cap)


def _submit(client: Client, folder: BatchFolder, purchase: Purchase, key: str) -> None:
    """Submit it under the key; what is remembered before lets a command that follows a crash find the same batch."""
    options = {name: value for name, value in purchase.terms.items() if value is not None}
    folder.note(manifest=key, options=options, submitted_at=time.time())
    try:
        _send(client, folder, purchase, key)
    except (ApiProblem, ApiUnreachable) as error:
        if not (error.maybe_received if isinstance(error, ApiUnreachable) else error.retryable):
            folder.forget()
        if not isinstance(error, ApiProblem):
            say("Run the same command again: it goes on with what was submitted, and buys nothing twice.")
            fail(error)
        if error.code == "idempotency_key_reused":
            say(
                "These very lines were submitted for this folder within the last 24 hours, with other options. Nothing "
                "was submitted. Go on with that batch (see `imagequeue batch list`): "
                f"{_attach_command('ID', folder.path)}; or buy them once more into another folder."
            )
            sys.exit(ExitCode.FAILED)
        refuse_lines(error)


def _submit_again(client: Client, folder: BatchFolder, purchase: Purchase, key: str) -> None:
    """The answer to the submit was lost: the same request again gets the same batch, while the API knows its key."""
    if time.time() - folder.state.submitted_at > _KEPT_SECONDS:
        say(
            f"These lines were submitted for {folder.path} more than a day ago, and no answer came. Look whether there "
            f"is such a batch: imagequeue batch list. If so, go on with: {_attach_command('ID', folder.path)} after "
            "you have deleted the folder's .imagequeue-batch.json; if not, delete that file and run this again."
        )
        sys.exit(ExitCode.FAILED)
    _send(client, folder, purchase, key)


def _send(client: Client, folder: BatchFolder, purchase: Purchase, key: str) -> None:
    try:
        batch = client.batches.submit(purchase.file, idempotency_key=key, **purchase.lines, **folder.state.options)
    except KeyboardInterrupt:
        say(
            "\nThe batch may have been submitted. Run the same command again: it goes on with it, and buys nothing "
            "twice."
        )
        sys.exit(ExitCode.INTERRUPTED)
    folder.note(batch_id=batch.id)
    say(f"{batch.id}: {batch.lines:,} lines are submitted.")
    if batch.skipped_lines:
        say(f"{batch.skipped_lines:,} bad lines are left out.")


def _known(client: Client, folder: BatchFolder) -> BatchView:
    """The folder's batch."""
    batch_id = str(folder.state.batch_id)
    try:
        return client.batches.get(batch_id)
    except ApiProblem as error:
        if error.code == "batch_not_found":
            say(
                f"{folder.path} belongs to {batch_id}, which {client.base_url} does not know: it was deleted, or "
                "belongs to another API or key. Give another folder to run these lines anew."
            )
            sys.exit(ExitCode.FAILED)
        raise


def _steer(client: Client, batch: BatchView, terms: Mapping[str, Any]) -> BatchView:
    """Change what is given anew."""
    given = {name: terms.get(name) for name in _STEERED}
    changes = {name: value for name, value in given.items() if value not in (None, getattr(batch, name))}
    if not changes or batch.finished_at:
        return batch
    return client.batches.change(batch.id, **changes)


def _save(client: Client, folder: BatchFolder, batch: BatchView, *, as_json: bool) -> NoReturn:
    """Watch a batch to its end while its images are saved."""
    ending: Ending | None = None
    with Saver(client, folder, batch.id) as saver, _told_how_to_go_on(batch.id, folder.path), shown(batch) as show:
        while True:
            show(batch, saver.saved)
            saver.look(batch)
            if _stands(batch):
                break
            if batch.state is BatchState.PAUSED:
                time.sleep(_LOOK_SECONDS)
            batch = client.batches.wait(batch.id, _LOOK_SECONDS)
        saver.finish()
        show(batch, saver.saved)
        if batch.finished_at:
            ending = saver.write_results()
    if as_json:
        print_json(batch, folder=str(folder.path), results=str(folder.results) if ending else None)
    elif ending:
        print_line(str(folder.results))
    _tell(batch, folder, saver.saved, ending)
    succeeded = batch.finished_at and batch.counts.succeeded == batch.lines and ending and not ending.missing
    sys.exit(ExitCode.OK if succeeded else ExitCode.FAILED)


def _stands(batch: BatchView) -> bool:
    """Whether nothing more will come of it by itself."""
    waits = batch.pause is not None and batch.pause.resumes_at is None
    return batch.finished_at is not None or (waits and not batch.counts.in_flight)


def _tell(batch: BatchView, folder: BatchFolder, saved: int, ending: Ending | None) -> None:
    """How it came out, and what can be done about what did not."""
    counts = batch.counts
    others = [("failed", counts.failed), ("refused", counts.refused), ("cancelled", counts.cancelled)]
    told = [f"{counts.succeeded:,} of {batch.lines:,} lines succeeded", *(f"{n:,} {name}" for name, n in others if n)]
    say(f"{batch.id} is {batch.state}: {', '.join(told)}; {spend(batch)}; {saved:,} images in {folder.path}")
    if batch.pause:
        say(why_paused(batch, batch.pause))
        say(f"Go on: {way_on(batch, batch.pause)} && {_attach_command(batch.id, folder.path)}")
    for line in ending.unsuccessful if ending else ():
        why = f"{line.error.code}: {one_line(line.error.message, 120)}" if line.error else ""
        say(f"  {one_line(line.custom_id, 40)}  {line.state}  {why}")
    if ending and ending.missing:
        say(f"{ending.missing:,} images are no longer there: their jobs were deleted.")
    if counts.failed and batch.finished_at:
        again = f"imagequeue batch retry {batch.id} && {_attach_command(batch.id, folder.path)}"
        say(f"Run the failed lines again: {again}")


def _refuse_folder(folder: BatchFolder) -> NoReturn:
    batch_id = folder.state.batch_id
    if batch_id:
        say(
            f"{folder.path} belongs to {batch_id}, which has other lines. Give another folder, or go on with that "
            f"batch: {_attach_command(batch_id, folder.path)}"
        )
    else:
        say(
            f"Other lines were submitted for {folder.path}, and no answer came. Run that command again, or give "
            "another folder."
        )
    sys.exit(ExitCode.BAD_INPUT)


@contextmanager
def _opened(path: Path) -> Generator[BatchFolder]:
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(BatchFolder.opened(path))
        except OSError as error:
            say(f"--output: must be a folder that can be written ({error})")
            sys.exit(ExitCode.BAD_INPUT)
        yield folder


@contextmanager
def _told_how_to_go_on(batch_id: str, path: Path) -> Generator[None]:
    """However watching ends early, the batch goes on, and the person is told how to come back to it."""
    command = _attach_command(batch_id, path)
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nThe batch goes on without you. Come back to it: {command}")
        say(f"Stop it: imagequeue batch cancel {batch_id}")
        sys.exit(ExitCode.INTERRUPTED)
    except (ApiUnreachable, DamagedDownload) as error:
        say(f"{batch_id} is kept by the queue. Go on with: {command}")
        fail(error)
    except ImageQueueError as error:
        fail(error)
    except OSError as error:
        say(f"The images cannot be saved: {error}. They are kept; once that is mended, go on with: {command}")
        sys.exit(ExitCode.FAILED)


def _attach_command(batch_id: str, path: Path) -> str:
    return f"imagequeue batch attach {batch_id} -o {shlex.quote(str(path))}"
