"""A batch from its validation to its end: the lines are painted, some at once, and written as they are done."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, cast

from sandbox.app_state import Sandbox
from sandbox.batch_input import Line, read_lines, validate
from sandbox.batch_lines import LINE_ENDPOINTS, LineAnswer
from sandbox.batch_store import Batch
from sandbox.file_store import DiskFile, StoredFile
from sandbox.values import Fields

_AT_ONCE: Final = 50
EXPIRED: Final = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}
CANCELLED: Final = {"code": "batch_cancelled", "message": "The batch was cancelled before this request executed."}


def start_batch(sandbox: Sandbox, batch: Batch, file: StoredFile) -> None:
    """Run the batch in the background."""
    task = asyncio.create_task(_Run(sandbox, batch, file).run())
    sandbox.batches.running.add(task)
    task.add_done_callback(sandbox.batches.running.discard)


@dataclass(slots=True)
class _Run:
    sandbox: Sandbox
    batch: Batch
    file: StoredFile
    output: DiskFile = field(default_factory=DiskFile)
    errors: DiskFile = field(default_factory=DiskFile)
    answered: set[str] = field(default_factory=set[str])

    async def run(self) -> None:
        """From validation to the end."""
        batch = self.batch
        await self._step()
        if not await self._is_valid():
            batch.become("failed")
            return
        if not batch.cancelling.is_set():
            batch.become("in_progress")
        in_time = await self._paint()
        if not batch.cancelling.is_set():
            batch.become("finalizing")
        await self._step()
        cancelled = batch.cancelling.is_set()
        await asyncio.to_thread(self._give_up_the_rest, CANCELLED if cancelled else EXPIRED)
        if not cancelled and not in_time:
            batch.counts.failed = batch.counts.total - batch.counts.completed
        self._keep_files()
        batch.become("cancelled" if cancelled else "completed" if in_time else "expired")

    async def _step(self) -> None:
        await asyncio.sleep(self.sandbox.settings.batch_step_seconds)

    async def _is_valid(self) -> bool:
        found = await asyncio.to_thread(validate, self.file, self.batch.endpoint)
        told = self.sandbox.settings.batch_error
        self.batch.problems = (told.problem(),) if told is not None else tuple(found.problems)
        self.batch.model = found.model
        self.batch.counts.total = found.lines
        return not self.batch.problems

    async def _paint(self) -> bool:
        """Answer lines until all are done (True), the window closes or the batch is cancelled."""
        if self.batch.cancelling.is_set():
            return False
        lines = read_lines(self.file)
        painting = asyncio.gather(*(self._work(lines) for _ in range(_AT_ONCE)))
        cancelling = asyncio.ensure_future(self.batch.cancelling.wait())
        try:
            left = max(0.0, self.batch.expires_at - time.time())
            await asyncio.wait((painting, cancelling), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            return painting.done()
        finally:
            cancelling.cancel()
            painting.cancel()
            await asyncio.gather(painting, cancelling, return_exceptions=True)

    async def _work(self, lines: Iterator[Line]) -> None:
        endpoint = LINE_ENDPOINTS[self.batch.endpoint]
        for line in lines:
            answer = await endpoint.answer(self.sandbox, line, self.batch.id)
            self._write(answer, await asyncio.to_thread(_written, answer))

    def _write(self, answer: LineAnswer, written: bytes) -> None:
        counts = self.batch.counts
        self.answered.add(answer.custom_id)
        if not answer.good:
            self.errors.append(written)
            counts.failed += 1
            return
        self.output.append(written)
        counts.completed += 1
        usage = cast("Fields", cast("Fields", answer.body).get("usage") or {})
        counts.input_tokens += cast("int", usage.get("input_tokens", 0))
        counts.output_tokens += cast("int", usage.get("output_tokens", 0))

    def _give_up_the_rest(self, error: dict[str, str]) -> None:
        for line in read_lines(self.file):
            if line.custom_id not in self.answered:
                self.errors.append(_written(LineAnswer(line.custom_id, "", error=error)))

    def _keep_files(self) -> None:
        keep, batch = self.sandbox.files.add_output, self.batch
        if len(self.output):
            batch.output_file_id = keep(self.output, f"{batch.id}_output.jsonl", batch.output_lifetime).id
        if len(self.errors):
            batch.error_file_id = keep(self.errors, f"{batch.id}_error.jsonl", batch.output_lifetime).id


def _written(answer: LineAnswer) -> bytes:
    return json.dumps(answer.document()).encode() + b"\n"
