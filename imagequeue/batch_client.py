"""Batches over HTTP: a part of the clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from imagequeue.api_answers import ApiProblem, ApiUnreachable, problem
from imagequeue.api_async_connection import AsyncApiConnection
from imagequeue.api_calls import Call, answering, given, idempotent, nothing, path_of, seconds_text
from imagequeue.api_connection import ApiConnection
from imagequeue.api_events import ServerEvent, follow, follow_async
from imagequeue.api_patience import LONGEST_WAIT_SECONDS, UPDATE_SECONDS, Patience, Waiting
from imagequeue.batch_requests import Again, ResultOrder
from imagequeue.batch_views import BatchPage, BatchView, ResultLine
from imagequeue.batches import BatchState
from imagequeue.manifest_client import Manifest, manifest_call
from imagequeue.saving import draft_of

ZipFolders = Literal["none", "prompt"]


class BatchClient:
    """Submit, look, wait, steer, fetch results. Its methods raise what those of `Client` do."""

    def __init__(self, api: ApiConnection) -> None:
        self._api = api

    def submit(self, manifest: Manifest, *, idempotency_key: str | None = None, **options: Any) -> BatchView:
        """Submit the lines of a manifest; returns as soon as all are checked and kept.

        Args:
            manifest: the lines.
            idempotency_key: as for `Client.submit`.
            options: fields of BatchOptions, and `template`.

        Raises:
            InvalidRequest: the file's name does not tell what it is.
            ApiProblem: code `invalid_manifest`: `lines` has what is wrong; `idempotency_key_reused`.
            OSError: the file cannot be read.
        """
        return self._api.submit(_submit(manifest, options, idempotency_key))

    def get(self, batch_id: str) -> BatchView:
        """Read a batch."""
        return self._api.do(_get(batch_id))

    def list(self, cursor: str | None = None, limit: int = 20) -> BatchPage:
        """A page of at most `limit` (1 to 100) batches, newest first."""
        return self._api.do(_list(cursor, limit))

    def wait(
        self,
        batch_id: str,
        timeout_seconds: float | None = None,
        on_update: Callable[[BatchView], None] | None = None,
    ) -> BatchView:
        """Return the batch once it has ended or is paused, or as it is after `timeout_seconds`; see `Client.wait`.

        Args:
            batch_id: the batch.
            timeout_seconds: None waits for ever.
            on_update: called with the batch about every second, and once more with its end.
        """
        waiting = Waiting(timeout_seconds, UPDATE_SECONDS if on_update else LONGEST_WAIT_SECONDS)
        while True:
            call = _wait(batch_id, waiting.next_seconds())
            batch = self._api.do_patiently(call, Patience(self._api.patience_seconds, waiting.deadline))
            if on_update:
                on_update(batch)
            pause = waiting.pause()
            if _at_rest(batch) or pause is None:
                return batch
            time.sleep(pause)

    def change(self, batch_id: str, **changes: int | float | None) -> BatchView:
        """Change `window`, `priority` or `max_cost_usd` (None: no cap)."""
        return self._api.do_patiently(_change(batch_id, changes))

    def pause(self, batch_id: str) -> BatchView:
        """Begin no more lines; those in flight go on."""
        return self._api.do_patiently(_steer(batch_id, "pause"))

    def resume(self, batch_id: str) -> BatchView:
        """Go on."""
        return self._api.do_patiently(_steer(batch_id, "resume"))

    def cancel(self, batch_id: str, *, running: bool = False) -> BatchView:
        """Cancel the lines that wait, and with `running` those in flight, too."""
        return self._api.do_patiently(_steer(batch_id, "cancel", {"running": running}))

    def retry_failed(self, batch_id: str, states: Sequence[Again] = ("failed",)) -> BatchView:
        """Run the lines that ended so once more, as new jobs."""
        return self._api.do(_steer(batch_id, "retry-failed", {"states": list(states)}))

    def delete(self, batch_id: str) -> None:
        """Delete a batch that has ended; the jobs of its lines stay.

        Raises:
            ApiProblem: code `batch_running`: it has not ended.
        """
        self._api.do(_delete(batch_id))

    def results(
        self, batch_id: str, *, order: ResultOrder = "manifest", after: int | None = None
    ) -> Generator[ResultLine]:
        """How lines ended, in bounded memory; what the network cuts off goes on where it was.

        Args:
            batch_id: the batch.
            order: `manifest`, up to the first line that has not ended; or `finished`, all that have ended, in that
                order, a line that ran again once more.
            after: the `line`, or with `finished` the `position`, of the last that you have.
        """
        reading = _Reading(batch_id, order, after, Patience(self._api.patience_seconds))
        while True:
            try:
                with self._api.stream(reading.path) as response:
                    if not response.is_success:
                        response.read()
                        raise problem(response)
                    for line in response.iter_lines():
                        yield reading.take(line)
                    return
            except (ApiUnreachable, ApiProblem) as error:
                pause = reading.patience.pause_after(error)
            time.sleep(pause)

    def report(self, batch_id: str) -> Mapping[str, Any]:
        """What the batch came to: a BatchReport, as JSON has it."""
        return self._api.do(_report(batch_id))

    def save_report(self, batch_id: str, file: Path, page: int = 1) -> None:
        """Write the report as an HTML page, with the contact sheet of 100 lines, into a file."""
        self._save(f"{path_of('batches', batch_id)}/report.html?page={page}", file)

    def save_zip(self, batch_id: str, file: Path, *, folders: ZipFolders = "none") -> None:
        """Write all images as a ZIP into a file, in bounded memory; `prompt` gives each prompt a folder."""
        self._save(f"{path_of('batches', batch_id)}/images.zip?folders={folders}", file)

    def _save(self, path: str, file: Path) -> None:
        with draft_of(file) as draft:
            self._api.patiently(lambda: self._api.save(path, file.name, draft))
            draft.replace(file)

    def events(self, batch_id: str, *, last_event_id: str | None = None) -> Generator[ServerEvent]:
        """Follow a batch to its end, as `Client.events` follows a job."""
        return follow(self._api, _events(batch_id), last_event_id)


class AsyncBatchClient:
    """`BatchClient` for asyncio."""

    def __init__(self, api: AsyncApiConnection) -> None:
        self._api = api

    async def submit(self, manifest: Manifest, *, idempotency_key: str | None = None, **options: Any) -> BatchView:
        """See BatchClient."""
        return await self._api.submit(_submit(manifest, options, idempotency_key))

    async def get(self, batch_id: str) -> BatchView:
        """See BatchClient."""
        return await self._api.do(_get(batch_id))

    async def list(self, cursor: str | None = None, limit: int = 20) -> BatchPage:
        """See BatchClient."""
        return await self._api.do(_list(cursor, limit))

    async def wait(
        self,
        batch_id: str,
        timeout_seconds: float | None = None,
        on_update: Callable[[BatchView], None] | None = None,
    ) -> BatchView:
        """See BatchClient."""
        waiting = Waiting(timeout_seconds, UPDATE_SECONDS if on_update else LONGEST_WAIT_SECONDS)
        while True:
            call = _wait(batch_id, waiting.next_seconds())
            batch = await self._api.do_patiently(call, Patience(self._api.patience_seconds, waiting.deadline))
            if on_update:
                on_update(batch)
            pause = waiting.pause()
            if _at_rest(batch) or pause is None:
                return batch
            await asyncio.sleep(pause)

    async def change(self, batch_id: str, **changes: int | float | None) -> BatchView:
        """See BatchClient."""
        return await self._api.do_patiently(_change(batch_id, changes))

    async def pause(self, batch_id: str) -> BatchView:
        """See BatchClient."""
        return await self._api.do_patiently(_steer(batch_id, "pause"))

    async def resume(self, batch_id: str) -> BatchView:
        """See BatchClient."""
        return await self._api.do_patiently(_steer(batch_id, "resume"))

    async def cancel(self, batch_id: str, *, running: bool = False) -> BatchView:
        """See BatchClient."""
        return await self._api.do_patiently(_steer(batch_id, "cancel", {"running": running}))

    async def retry_failed(self, batch_id: str, states: Sequence[Again] = ("failed",)) -> BatchView:
        """See BatchClient."""
        return await self._api.do(_steer(batch_id, "retry-failed", {"states": list(states)}))

    async def results(
        self, batch_id: str, *, order: ResultOrder = "manifest", after: int | None = None
    ) -> AsyncGenerator[ResultLine]:
        """See BatchClient."""
        reading = _Reading(batch_id, order, after, Patience(self._api.patience_seconds))
        while True:
            try:
                async with self._api.stream(reading.path) as response:
                    if not response.is_success:
                        await response.aread()
                        raise problem(response)
                    async for line in response.aiter_lines():
                        yield reading.take(line)
                    return
            except (ApiUnreachable, ApiProblem) as error:
                pause = reading.patience.pause_after(error)
            await asyncio.sleep(pause)

    async def delete(self, batch_id: str) -> None:
        """See BatchClient."""
        await self._api.do(_delete(batch_id))

    async def report(self, batch_id: str) -> Mapping[str, Any]:
        """See BatchClient."""
        return await self._api.do(_report(batch_id))

    async def save_report(self, batch_id: str, file: Path, page: int = 1) -> None:
        """See BatchClient."""
        await self._save(f"{path_of('batches', batch_id)}/report.html?page={page}", file)

    async def save_zip(self, batch_id: str, file: Path, *, folders: ZipFolders = "none") -> None:
        """See BatchClient."""
        await self._save(f"{path_of('batches', batch_id)}/images.zip?folders={folders}", file)

    async def _save(self, path: str, file: Path) -> None:
        with draft_of(file) as draft:
            await self._api.patiently(lambda: self._api.save(path, file.name, draft))
            draft.replace(file)

    def events(self, batch_id: str, *, last_event_id: str | None = None) -> AsyncGenerator[ServerEvent]:
        """See BatchClient."""
        return follow_async(self._api, _events(batch_id), last_event_id)


class _Reading:
    """How far results were read, over all connections."""

    def __init__(self, batch_id: str, order: ResultOrder, after: int | None, patience: Patience) -> None:
        self._address = f"{path_of('batches', batch_id)}/results?order={order}"
        self._after = after
        self.patience = patience

    @property
    def path(self) -> str:
        """Of those that are left."""
        return self._address if self._after is None else f"{self._address}&after={self._after}"

    def take(self, text: str) -> ResultLine:
        """Read one, and note that it was got."""
        result = ResultLine.model_validate_json(text, extra="ignore")  # a newer API may tell more
        self._after = result.line if result.position is None else result.position
        self.patience.renew()
        return result


def _submit(manifest: Manifest, options: dict[str, Any], key: str | None) -> Call[BatchView]:
    return manifest_call("/v1/batches", answering(BatchView), manifest, options, idempotent(key))


def _get(batch_id: str) -> Call[BatchView]:
    return Call("GET", path_of("batches", batch_id), answering(BatchView))


def _wait(batch_id: str, seconds: float) -> Call[BatchView]:
    params = {"wait": seconds_text(seconds)}
    return Call("GET", path_of("batches", batch_id), answering(BatchView), params=params, wait_seconds=seconds)


def _list(cursor: str | None, limit: int) -> Call[BatchPage]:
    return Call("GET", "/v1/batches", answering(BatchPage), params=given(cursor=cursor, limit=limit))


def _change(batch_id: str, changes: dict[str, int | float | None]) -> Call[BatchView]:
    return Call("PATCH", path_of("batches", batch_id), answering(BatchView), body=changes)


def _steer(batch_id: str, action: str, body: dict[str, Any] | None = None) -> Call[BatchView]:
    return Call("POST", f"{path_of('batches', batch_id)}/{action}", answering(BatchView), body=body)


def _delete(batch_id: str) -> Call[None]:
    return Call("DELETE", path_of("batches", batch_id), nothing)


def _report(batch_id: str) -> Call[Mapping[str, Any]]:
    # The report's model belongs to the server: it would bring along half of it.
    return Call("GET", f"{path_of('batches', batch_id)}/report", lambda response: response.json())


def _events(batch_id: str) -> str:
    return f"{path_of('batches', batch_id)}/events"


def _at_rest(batch: BatchView) -> bool:
    return batch.finished_at is not None or batch.state is BatchState.PAUSED
