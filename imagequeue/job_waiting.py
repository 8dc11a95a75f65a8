"""Waiting until jobs have ended, as long as a request may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final

from imagequeue.jobs import Job, JobState
from imagequeue.waiting import ChangeReader

_REREAD_SECONDS: Final = 15.0
"""A waiter looks at the records this often even if nothing wakes it: a net, not the mechanism."""
_WORTH_A_LOOK: Final = frozenset({"", *(state.value for state in JobState if state.terminal)})
"""The ends of jobs; and no name: the reader may have missed something, or the process is to end."""
Read = Callable[[Sequence[str]], Sequence[Job]]


class JobWaiting:
    """Waits on the process's one reader of changes. Once stopped, nothing waits any more."""

    def __init__(self, changes: ChangeReader, most_seconds: float) -> None:
        self._changes = changes
        self._most_seconds = most_seconds
        self.stopping = False

    def wait(self, job_ids: Sequence[str], read: Read, seconds: float, *, any_of: bool = False) -> Sequence[Job]:
        """The jobs once all of them, or `any_of` them, have ended; or as they are after `seconds`, which are capped.

        Args:
            job_ids: the jobs to wait for.
            read: gives the jobs of these ids, in their order, without those that do not exist.
            seconds: 0 looks once.
            any_of: one end is enough.
        """
        if seconds <= 0:
            return read(job_ids)
        deadline = time.monotonic() + min(seconds, self._most_seconds)
        changed = threading.Event()

        def wake(_job_id: str, event: str) -> None:
            if event in _WORTH_A_LOOK:
                changed.set()

        with ExitStack() as listening:
            for job_id in job_ids:
                listening.enter_context(self._changes.listening(job_id, wake))
            jobs = read(job_ids)
            while True:
                remaining = deadline - time.monotonic()
                if _enough(jobs, any_of=any_of) or remaining <= 0 or self.stopping:
                    return jobs
                changed.wait(min(remaining, _REREAD_SECONDS))
                changed.clear()
                jobs = self._read_again(jobs, read)

    def stop(self) -> None:
        """Let every wait, now and from now on, end."""
        self.stopping = True

    def _read_again(self, jobs: Sequence[Job], read: Read) -> Sequence[Job]:
        fresh = {job.id: job for job in read([job.id for job in jobs if not job.state.terminal])}
        return [fresh.get(job.id, job) for job in jobs]


def _enough(jobs: Sequence[Job], *, any_of: bool) -> bool:
    ended = [job.state.terminal for job in jobs]
    return any(ended) or not ended if any_of else all(ended)
