"""Finding an owner's jobs by what they are."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final

from imagequeue.jobs import Job, JobState, JobType
from imagequeue.store.jobs import JobStore

_READ_AT_ONCE: Final = 500
"""Jobs looked at in one round trip for what no index tells."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; None takes all. `among`: the only ids that count, such as a session's turns."""

    owner: str
    state: JobState | None = None
    type: JobType | None = None
    among: Sequence[str] | None = None

    def takes(self, job: Job) -> bool:
        """Whether a job of the owner's matches."""
        return self.state in (None, job.state) and self.type in (None, job.type)


def newest_job_ids(store: JobStore, wanted: JobFilter, after: str | None, expected: int) -> Generator[str]:
    """The ids of jobs in Redis that match, newest first, older than the id `after`, to the end of the index.

    They are read as they are taken; `expected` is how many the caller wants.
    """
    count = expected if wanted.type is None else max(expected, _READ_AT_ONCE)
    while ids := store.list_ids(wanted.owner, wanted.state, after, count):
        yield from ids if wanted.type is None else store.matching(ids, wanted.state, wanted.type)
        after = ids[-1]
