"""The salvager: it ends the jobs whose paid answers somebody left on this worker's disk, and clears away the rest.

An answer is left when its worker died or gave up before S3 and Redis had taken it. It is paid for: nobody may have to
call OpenAI again for it.
"""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from imagequeue.errors import JobNotFound, ObjectsUnavailable, StoreUnavailable
from imagequeue.job_records import JobRecords
from imagequeue.jobs import Claim
from imagequeue.store.attempts import AttemptStore, new_holder
from worker.runner import Runner
from worker.spool import AnswerNote, Spool, SpoolFolder

_LOOK_SECONDS: Final = 2.0
_AT_ONCE: Final = 4
_LOOK_UP_SECONDS: Final = 600.0
_OLD_SECONDS: Final = 86_400.0
"""A folder without an answer that nobody has written to for so long belongs to a process that is gone."""
_log = structlog.stdlib.get_logger(__name__)


class Salvager:
    """Looks at the spool in a thread of its own, from `start` to `close`."""

    def __init__(self, spool: Spool, store: AttemptStore, records: JobRecords, runner: Runner, lease_ms: int) -> None:
        self._spool = spool
        self._store = store
        self._records = records
        self._looked_up: dict[str, float] = {}  # when a job that Redis does not know was looked for in S3
        self._runner = runner
        self._lease_ms = lease_ms
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="salvage")
        # Adopted is only what a thread is free for: nobody would renew the lease of what waits.
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        self._thread = threading.Thread(target=self._run, name="salvager", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what is being stored is stored."""
        self._stopping.set()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except StoreUnavailable as error:
                _log.warning("salvaging_interrupted", error=str(error))
            if self._stopping.wait(_LOOK_SECONDS):
                return

    def look(self) -> None:
        """Adopt every answer that nobody holds; delete what no job needs.

        Raises:
            StoreUnavailable: Redis does not answer; the next look goes on.
        """
        self._spool.clear_checks(_OLD_SECONDS)
        for job_id, attempt, folder in self._spool.left_behind():
            try:
                self._consider(job_id, attempt, folder)
            except StoreUnavailable:
                raise
            except ObjectsUnavailable:  # looked up again some time later
                continue
            except Exception:
                _log.exception("spool_folder_not_salvaged", folder=str(folder.path))

    def _consider(self, job_id: str, attempt: int, folder: SpoolFolder) -> None:
        try:
            job = self._store.get(job_id)
        except JobNotFound:
            self._consider_unknown(job_id, folder)
            return
        if job.state.terminal or job.attempt > attempt:
            folder.remove()
            return
        note = folder.note()
        if note is None:
            return
        if not self._free.acquire(blocking=False):
            return
        holder = new_holder(self._runner.worker)
        try:
            adopted = self._store.adopt(job, attempt, self._runner.worker, holder, self._lease_ms) == "adopted"
        except BaseException:
            self._free.release()
            raise
        if adopted:
            _log.warning("answer_salvaged", job=job_id, attempt=attempt)
            self._pool.submit(self._resume, Claim(job=job, holder=holder), note, folder)
        else:
            self._free.release()

    def _consider_unknown(self, job_id: str, folder: SpoolFolder) -> None:
        """Clear away what is left of a job that ended and was archived, and old pieces of one that nobody knows.

        An answer of an unknown job may be another installation's: what is paid for is not ours to delete.
        """
        now = time.monotonic()
        if now - self._looked_up.get(job_id, -math.inf) < _LOOK_UP_SECONDS:
            return
        self._looked_up[job_id] = now
        if self._records.archived(job_id) or (folder.holds_no_answer and folder.age_seconds > _OLD_SECONDS):
            _log.info("spool_folder_cleared_away", folder=str(folder.path))
            folder.remove()

    def _resume(self, claim: Claim, note: AnswerNote, folder: SpoolFolder) -> None:
        try:
            self._runner.resume(claim, note, folder)
        except Exception:
            _log.exception("salvage_failed", job=claim.job.id)
        finally:
            self._free.release()
