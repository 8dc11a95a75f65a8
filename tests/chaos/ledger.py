"""What the clients of a run know, put together by many threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from evidence import Submission

from imagequeue.views import JobView


class Ledger:
    """What the clients know; written by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._submissions: list[Submission] = []
        self._cancels: set[str] = set()
        self._seen: dict[str, JobView] = {}
        self._complaints: list[str] = []

    def note(self, submission: Submission) -> None:
        """A submit came to its end."""
        with self._lock:
            self._submissions.append(submission)

    def cancelling(self, job_id: str) -> None:
        """A client is about to ask for a cancel."""
        with self._lock:
            self._cancels.add(job_id)

    def saw(self, view: JobView) -> None:
        """A client was shown a job; the first sight of its end counts."""
        if view.state.terminal:
            with self._lock:
                self._seen.setdefault(view.id, view)

    def complain(self, text: str) -> None:
        """The API answered what it never should."""
        with self._lock:
            self._complaints.append(text)

    @property
    def submissions(self) -> tuple[Submission, ...]:
        """All submits so far."""
        with self._lock:
            return tuple(self._submissions)

    @property
    def cancels(self) -> frozenset[str]:
        """Jobs that a cancel was asked for."""
        with self._lock:
            return frozenset(self._cancels)

    @property
    def seen(self) -> Mapping[str, JobView]:
        """Jobs as they were when their end was first seen."""
        with self._lock:
            return dict(self._seen)

    @property
    def complaints(self) -> tuple[str, ...]:
        """What the API should not have answered."""
        with self._lock:
            return tuple(self._complaints)
