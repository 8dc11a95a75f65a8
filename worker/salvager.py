"""The salvager: it ends the jobs whose paid answers somebody left on this worker's disk, and clears away the rest.

An answer is left when its worker died or gave up before S3 and Redis had taken it. It is paid for: nobody may have to
call OpenAI again for it.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from imagequeue.errors import JobNotFound, StoreUnavailable
from imagequeue.jobs import Claim
from imagequeue.store.attempts import AttemptStore, new_holder
from worker.runner import Runner
from worker.spool import AnswerNote, Spool, SpoolFolder

_LOOK_SECONDS: Final = 2.0
_AT_ONCE: Final = 4
_log = structlog.stdlib.get_logger(__name__)


class Salvager:
    """Looks at the spool in a thread of its own, from `start` to `close`."""

    def __init__(self, spool: Spool, store: AttemptStore, runner: Runner, lease_ms: int) -> None:
        self._spool = spool
        self._store = store
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
        for job_id, attempt, folder in self._spool.left_behind():
            try:
                self._consider(job_id, attempt, folder)
            except StoreUnavailable:
                raise
            except Exception:
                _log.exception("spool_folder_not_salvaged", folder=str(folder.path))

    def _consider(self, job_id: str, attempt: int, folder: SpoolFolder) -> None:
        try:
            job = self._store.get(job_id)
        except JobNotFound:  # another installation's, perhaps: what is paid for is not ours to delete
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

    def _resume(self, claim: Claim, note: AnswerNote, folder: SpoolFolder) -> None:
        try:
            self._runner.resume(claim, note, folder)
        except Exception:
            _log.exception("salvage_failed", job=claim.job.id)
        finally:
            self._free.release()
