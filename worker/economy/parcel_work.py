"""What is to be done with a parcel, step by step. Every step may be done again by whoever holds the parcel next.

Only `create` leads to costs. It is noted before and after; in between, nobody begins a second batch before OpenAI was
asked, for long enough, for one with this parcel's id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from imagequeue.batches import Batch, BatchNotFound, BatchState, LineState
from imagequeue.errors import ImageQueueError, OutcomeUnknown, ProviderError, ProviderRefused, Unavailable
from imagequeue.jobs import NewJob
from imagequeue.manifests.lines import ManifestLine
from imagequeue.manifests.store import ManifestStore
from imagequeue.parcels import PackedLine, Parcel, endpoint_of
from imagequeue.store.batches import BatchStore
from imagequeue.store.parcels import NOW, HeldParcel, ParcelLost, ParcelStore
from worker.economy.deadlines import RealTime, leave_at
from worker.economy.landing import Lander
from worker.economy.packing import Packer
from worker.economy.remote_batches import RemoteBatch, RemoteBatches
from worker.economy.shipping import line_cost
from worker.loop import LoopThread

_CLOCK_SECONDS: Final = 3600
"""Of difference between OpenAI's clock and Redis's that does no harm."""
_QUEUE_FULL: Final = "token_limit_exceeded"
"""OpenAI holds as much of this account in batches as it may: nothing was begun, and it passes."""
_QUEUE_FULL_SECONDS: Final = 300.0
_MOST_REFUSALS: Final = 5
_FIRST_BACKOFF_SECONDS: Final = 5.0
_MOST_BACKOFF_SECONDS: Final = 600.0
_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ParcelWork:
    """Takes parcels from step to step.

    `draft` makes the job of a line, which is not stored; it raises ImageQueueError when there cannot be one.
    `served` says whether an earlier job's images serve a draft that asks for those: then it is not to be paid again.
    `doubt_seconds` is how long after a lost answer a batch that OpenAI does not list may still appear there.
    """

    store: ParcelStore
    batches: BatchStore
    manifests: ManifestStore
    packer: Packer
    lander: Lander
    remote: RemoteBatches
    loop: LoopThread
    draft: Callable[[Batch, ManifestLine], NewJob]
    served: Callable[[NewJob], bool]
    real_time: Callable[[], RealTime]
    poll_seconds: float
    doubt_seconds: float = 60.0

    def step(self, held: HeldParcel) -> None:
        """Do what is to be done now, and say when the parcel is due again."""
        parcel = held.parcel
        try:
            self._step(held)
        except ParcelLost:
            _log.warning("parcel_lost", parcel=parcel.id)
        except ProviderError as error:
            self._again_later(held, error)
        except (Unavailable, OSError) as error:
            _log.warning("parcel_interrupted", parcel=parcel.id, error=str(error))
            self._let_go(held)
        except Exception:
            _log.exception("parcel_step_failed", parcel=parcel.id)

    def _step(self, held: HeldParcel) -> None:
        try:
            batch = self.batches.get(held.parcel.batch_id)
        except BatchNotFound:
            self._clean_up(held, ())
            return
        if held.parcel.state == "new" and (packed := self._pack(held, batch)) is not None:
            held = packed
        if held.parcel.state in ("packed", "creating"):
            self._send(held, batch)
        elif held.parcel.state == "sent":
            self._follow(held, batch)

    def _pack(self, held: HeldParcel, batch: Batch) -> HeldParcel | None:
        """The parcel, packed; None when it was given back."""
        parcel, lines = held.parcel, self._manifest_lines(held.parcel)
        seconds = self.real_time().seconds([line.request for line in lines], max(batch.at_openai, len(lines)))
        if self._is_to_leave(batch, seconds):
            self._give_back_all(held)
            return None
        unfit: list[int] = []
        packed = self.packer.pack(parcel, self._drafts(batch, lines, unfit))
        self._give_back(parcel, (*unfit, *packed.unfit))
        if packed.input_file is None:
            self._clean_up(held, ())
            return None
        done = {"state": "packed", "input_file": packed.input_file, "real_time_seconds": round(seconds)}
        return self.store.note(held, done)

    def _drafts(self, batch: Batch, lines: Sequence[ManifestLine], unfit: list[int]) -> Iterator[tuple[int, NewJob]]:
        """The lines' jobs, but for those left for real time.

        A line of which no job can be made fails there as it would have; one that asks for the images of an equal
        request, which are there, gets copies.
        """
        for line in lines:
            try:
                draft = self.draft(batch, line)
            except Unavailable:
                raise
            except ImageQueueError as error:
                _log.info("line_not_packed", batch=batch.id, line=line.number, error=str(error))
                unfit.append(line.number)
                continue
            if self.served(draft):
                unfit.append(line.number)
            else:
                yield line.number, draft

    def _send(self, held: HeldParcel, batch: Batch) -> None:
        """Begin OpenAI's batch, unless it was begun already."""
        parcel = held.parcel
        remote = self._found(parcel)
        if remote is None:
            if parcel.creating_at and (left := self._doubt_left_ms(parcel)) > 0:
                self.store.note(held, {}, due_ms=min(left, int(_FIRST_BACKOFF_SECONDS * 1000)))
                return
            if self._is_to_leave(batch, parcel.real_time_seconds):
                self._give_back_all(held)
                return
            remote = self._created(held)
        _log.info("parcel_sent", parcel=parcel.id, batch=parcel.batch_id, remote=remote.id, lines=parcel.lines)
        sent = {"state": "sent", "remote_id": remote.id, "remote_state": remote.status, "tries": 0, "trouble": None}
        try:
            self.store.note(held, sent, due_ms=int(self.poll_seconds * 1000))
        except ParcelLost:
            self._withdraw_second(parcel, remote)
            raise

    def _withdraw_second(self, parcel: Parcel, remote: RemoteBatch) -> None:
        """Cancel a batch that this worker began after it was silent for so long that another one has begun one, too."""
        current = self.store.get(parcel.id)
        if current is None or current.remote_id not in (None, remote.id):
            _log.error("second_batch_cancelled", parcel=parcel.id, remote=remote.id)
            self.loop.submit(self.remote.cancel(remote.id)).result()

    def _found(self, parcel: Parcel) -> RemoteBatch | None:
        if parcel.state != "creating" or parcel.creating_at is None:
            return None
        since = parcel.creating_at // 1000 - _CLOCK_SECONDS
        return self.loop.submit(self.remote.find(parcel.id, since)).result()

    def _doubt_left_ms(self, parcel: Parcel) -> int:
        if parcel.state != "creating" or parcel.creating_at is None:
            return 0
        return parcel.creating_at + int(self.doubt_seconds * 1000) - self.store.now()

    def _created(self, held: HeldParcel) -> RemoteBatch:
        parcel = held.parcel
        held = self.store.note(held, {"state": "creating", "creating_at": NOW})
        try:
            creating = self.remote.create(parcel.endpoint, parcel.input_file or "", parcel.id)
            return self.loop.submit(creating).result()
        except OutcomeUnknown:
            raise
        except ProviderError as error:  # nothing was begun; a refused input file may have expired: it is packed anew
            refused = isinstance(error, ProviderRefused)
            self.store.note(held, {"state": "new" if refused else "packed", "creating_at": None})
            raise

    def _follow(self, held: HeldParcel, batch: Batch) -> None:
        """Look how far OpenAI is; land the parcel when it is done, or when it has to leave."""
        parcel = held.parcel
        remote = self.loop.submit(self.remote.get(parcel.remote_id or "")).result()
        if remote.over:
            self._land(held, remote)
            return
        ending = parcel.ending
        if not ending and self._is_to_leave(batch, parcel.real_time_seconds):
            self.loop.submit(self.remote.cancel(remote.id)).result()
            _log.info("parcel_cancelled_at_openai", parcel=parcel.id, remote=remote.id, batch_state=batch.state)
            ending = True
        seen = {"remote_state": remote.status, "ending": int(ending), "tries": 0, "trouble": None}
        self.store.note(held, seen, due_ms=int(self.poll_seconds * 1000))

    def _land(self, held: HeldParcel, remote: RemoteBatch) -> None:
        parcel = held.parcel
        if remote.status == "failed" and any(code == _QUEUE_FULL for code, _ in remote.problems):
            trouble = "; ".join(text for _, text in remote.problems)
            changes = {"state": "packed", "remote_id": None, "creating_at": None, "trouble": trouble}
            self.store.note(held, changes, due_ms=int(_QUEUE_FULL_SECONDS * 1000))
            return
        packed = self.packer.packed(parcel)
        lines = self._unfinished(parcel, packed)
        landed = self.lander.land(parcel, remote, lines)
        missing = lines.keys() - landed.seen
        if remote.status == "completed":
            for number in missing:
                self.lander.unknown(parcel, lines[number])
        else:
            _log.warning("batch_ended_early", parcel=parcel.id, status=remote.status, problems=remote.problems)
            landed.not_run.update(missing)
        self._give_back(parcel, landed.not_run)
        if left := self._unfinished(parcel, packed):
            _log.info("parcel_unfinished", parcel=parcel.id, lines=len(left))
            return  # somebody else works on them, or S3 did not take them: looked at when the lease is over
        files = {file_id for line in packed.values() for file_id in line.files}
        self._clean_up(held, (*files, remote.output_file_id, remote.error_file_id))

    def _unfinished(self, parcel: Parcel, packed: dict[int, PackedLine]) -> dict[int, PackedLine]:
        """The lines that are still the parcel's: with no job yet, or with its own that has not ended."""
        records = self.batches.lines(parcel.batch_id, parcel.first, parcel.end - parcel.first)
        return {
            record.number: packed[record.number]
            for record in records
            if record.state is LineState.IN_FLIGHT
            and record.number in packed
            and record.job_id in (None, packed[record.number].job.id)
        }

    def _let_go(self, held: HeldParcel) -> None:
        """Have somebody go on soon; what is not told to Redis now happens when the lease is over."""
        with suppress(ParcelLost, Unavailable):
            self.store.note(held, {}, due_ms=int(_FIRST_BACKOFF_SECONDS * 1000))

    def _again_later(self, held: HeldParcel, error: ProviderError) -> None:
        """OpenAI did not do what was asked: ask again after a while. What it refuses time and again is given up."""
        parcel = self.store.get(held.parcel.id) or held.parcel
        _log.warning("parcel_in_trouble", parcel=parcel.id, state=parcel.state, tries=parcel.tries, error=str(error))
        try:
            if isinstance(error, ProviderRefused) and parcel.tries + 1 >= _MOST_REFUSALS:
                self._give_up(HeldParcel(parcel, held.holder))
                return
            backoff = min(_FIRST_BACKOFF_SECONDS * 2**parcel.tries, _MOST_BACKOFF_SECONDS)
            changes = {"tries": parcel.tries + 1, "trouble": str(error)}
            self.store.note(held, changes, due_ms=int(backoff * 1000))
        except ParcelLost:
            _log.warning("parcel_lost", parcel=parcel.id)

    def _give_up(self, held: HeldParcel) -> None:
        """OpenAI does not take the parcel, or does not know it any more."""
        parcel = held.parcel
        if parcel.state in ("new", "packed"):
            self._give_back_all(held)
            return
        for line in self._unfinished(parcel, self.packer.packed(parcel)).values():
            self.lander.unknown(parcel, line)
        self._clean_up(held, ())

    def _is_to_leave(self, batch: Batch, seconds: float) -> bool:
        """Whether nothing more is to be begun at OpenAI: the batch was cancelled, or real time takes that long."""
        return batch.state is BatchState.CANCELLED or self.store.now() >= leave_at(batch, seconds)

    def _give_back_all(self, held: HeldParcel) -> None:
        self._give_back(held.parcel, [line.number for line in self._manifest_lines(held.parcel)])
        self._clean_up(held, ())

    def _give_back(self, parcel: Parcel, numbers: Collection[int]) -> None:
        if not numbers:
            return
        costs = {line.number: line_cost(line.request) for line in self._manifest_lines(parcel)}
        given = self.store.give_back(parcel, {number: costs[number] for number in numbers})
        _log.info("lines_given_back", parcel=parcel.id, batch=parcel.batch_id, lines=given)

    def _manifest_lines(self, parcel: Parcel) -> list[ManifestLine]:
        lines = self.manifests.lines(parcel.batch_id, parcel.first, parcel.end - parcel.first)
        return [line for line in lines if endpoint_of(line.request) == parcel.endpoint]

    def _clean_up(self, held: HeldParcel, files: Collection[str | None]) -> None:
        """Delete what OpenAI and S3 have of the parcel; what fails here expires by itself."""
        parcel = held.parcel
        for file_id in (parcel.input_file, *files):
            if file_id is not None:
                try:
                    self.loop.submit(self.remote.delete(file_id)).result()
                except ProviderError as error:
                    _log.warning("file_left_at_openai", file=file_id, error=str(error))
        self.packer.forget(parcel)
        self.store.done(held)
        _log.info("parcel_done", parcel=parcel.id, batch=parcel.batch_id)
