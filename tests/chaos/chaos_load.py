"""Clients that submit a plan's jobs over HTTP, cancel some of them, and note what they know of each.

The client repeats a submit whose answer was lost, with its Idempotency-Key. One that may have been carried out when the
client's patience ends is a `perhaps`: the end of the run shows which it was, because every prompt is unique. It is sent
anew, with a new key, only when it surely was not carried out.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from evidence import Fate, Submission
from ledger import Ledger
from PIL import Image
from scenario import Errand, Plan, PlannedJob

from imagequeue.client import ApiProblem, ApiUnreachable, Client
from imagequeue.jobs import JobState
from imagequeue.views import JobView

CLIENTS: Final = 8
SIZE: Final = "640x1024"
"""The fewest pixels that gpt-image-2 makes, so that painting takes little."""
_TIMEOUT_SECONDS: Final = 6.0
_PATIENCE_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 1.0
_PICTURES: Final = ("steelblue", "darkolivegreen", "sienna")
_REFUSALS: Final = frozenset({"session_ended"})
"""What the API may answer to a right request: a session whose first turn was cancelled or failed has ended."""


class Load:
    """Runs a plan's errands in threads of its own, from `start` until `done`; `watch` looks at the jobs meanwhile."""

    def __init__(self, plan: Plan, api_url: str, folder: Path, ledger: Ledger) -> None:
        self._chance = random.Random(plan.seed)
        self._client = Client(api_url, timeout_seconds=_TIMEOUT_SECONDS, patience_seconds=_PATIENCE_SECONDS)
        self._ledger = ledger
        self._pictures = [_picture(folder, colour) for colour in _PICTURES]
        self._order = itertools.count()
        self._tasks: list[tuple[float, int, Callable[[], None]]] = []
        self._changed = threading.Condition()
        self._working = 0
        self._stopping = threading.Event()
        self._began = 0.0
        self._in_doubt = False  # a request failed, and the API has not been seen ready since
        for errand in plan.errands:
            self._plan(errand.at, lambda errand=errand: self._run(errand))
        names = [f"client-{number}" for number in range(CLIENTS)]
        self._threads = [threading.Thread(target=self._serve, name=name, daemon=True) for name in names]
        self._threads.append(threading.Thread(target=self._watch, name="watcher", daemon=True))

    def start(self) -> None:
        """Begin; the plan's times count from now."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> bool:
        """Whether every errand and cancel has come to its end."""
        with self._changed:
            return not self._tasks and not self._working

    def close(self) -> None:
        """Stop looking, give up what is not done, and end the threads."""
        self._stopping.set()
        with self._changed:
            self._tasks.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _plan(self, at: float, task: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._tasks, (at, next(self._order), task))
            self._changed.notify()

    def _serve(self) -> None:
        while task := self._next():
            try:
                task()
            finally:
                with self._changed:
                    self._working -= 1
                    self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """The next task when it is due; None when none can come any more."""
        with self._changed:
            while self._tasks or self._working:
                wait = self._tasks[0][0] - (time.monotonic() - self._began) if self._tasks else None
                if wait is not None and wait <= 0:
                    self._working += 1
                    return heapq.heappop(self._tasks)[2]
                self._changed.wait(wait)
            self._changed.notify_all()
            return None

    def _run(self, errand: Errand) -> None:
        first, *others = errand.jobs
        if errand.kind == "session":
            self._run_session(first, others)
            return
        source = self._source(first) if errand.kind == "edit" else None
        if errand.kind == "edit" and source is None:
            self._ledger.note(Submission(first.prompt, "skipped", reason="no source"))
            return
        request = {"type": errand.kind, "n": first.n, **_wishes(first), **({"images": [source]} if source else {})}
        self._submit(first, lambda: self._client.submit(request))

    def _run_session(self, first: PlannedJob, others: Sequence[PlannedJob]) -> None:
        source = self._upload()
        request = {**_wishes(first), "images": [source]}
        started = self._submit(first, lambda: self._client.start_session(request)) if source else None
        session_id = started.session_id if started else None
        for job in others:
            if session_id is None:  # nobody knows it, so nobody can go on with it
                self._ledger.note(Submission(job.prompt, "skipped", reason="no session"))
            else:
                self._submit(job, lambda job=job: self._client.add_turn(session_id, _wishes(job)))

    def _source(self, job: PlannedJob) -> str | None:
        done = [view.id for view in self._ledger.seen.values() if view.state is JobState.SUCCEEDED]
        if job.source == "job" and done:
            return f"job:{self._chance.choice(done)}/0"
        return self._upload()

    def _upload(self) -> str | None:
        try:
            return self._client.upload(self._chance.choice(self._pictures))
        except (ApiUnreachable, ApiProblem) as error:
            self._check(error, "an upload")
            return None

    def _submit(self, job: PlannedJob, send: Callable[[], JobView]) -> JobView | None:
        """Send one job; the record when the API has confirmed it."""
        fate, view, reason = self._sent(send)
        self._ledger.note(Submission(job.prompt, fate, view.id if view else None, reason))
        if view and job.cancel_after is not None:
            job_id = view.id
            self._plan(time.monotonic() - self._began + job.cancel_after, lambda: self._cancel(job_id))
        return view

    def _sent(self, send: Callable[[], JobView]) -> tuple[Fate, JobView | None, str]:
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self._await_serving(give_up)
            try:
                return "accepted", send(), ""
            except ApiUnreachable as error:
                self._in_doubt = True
                if error.maybe_received:
                    return "perhaps", None, ""
                if time.monotonic() > give_up:
                    return "refused", None, "unreachable"
            except ApiProblem as error:
                self._in_doubt = self._in_doubt or error.status >= 500
                self._check(error, "a submit")
                # 503: perhaps only the answer of Redis was lost.
                return ("perhaps" if error.status >= 500 else "refused"), None, error.code
            self._stopping.wait(_PAUSE_SECONDS)

    def _await_serving(self, deadline: float) -> None:
        """After a failure, send nothing before Redis and S3 serve again: each POST would become a `perhaps`."""
        while self._in_doubt and time.monotonic() < deadline and not self._stopping.is_set():
            try:
                parts = self._client.readiness().parts
                self._in_doubt = not (parts["redis"].ok and parts["s3"].ok)
            except (ApiUnreachable, ApiProblem):
                self._in_doubt = True
            if self._in_doubt:
                self._stopping.wait(_PAUSE_SECONDS)

    def _cancel(self, job_id: str) -> None:
        self._ledger.cancelling(job_id)
        try:
            self._ledger.saw(self._client.cancel(job_id))
        except ApiUnreachable:
            return
        except ApiProblem as error:
            if error.code != "job_finished":
                self._check(error, f"the cancel of {job_id}")

    def _check(self, error: ApiUnreachable | ApiProblem, what: str) -> None:
        """A 503 is the API's right while something is away; any other failure of a right request is a defect."""
        if isinstance(error, ApiProblem) and error.status != 503 and error.code not in _REFUSALS:
            self._ledger.complain(f"{what} was answered {error.status} {error.code}: {error}")

    def _watch(self) -> None:
        """Look at all jobs again and again, as a client with a list on its screen does."""
        while not self._stopping.wait(_LOOK_SECONDS):
            try:
                for view in all_jobs(self._client):
                    self._ledger.saw(view)
            except ApiUnreachable:
                continue
            except ApiProblem as error:
                self._check(error, "a list of jobs")


def all_jobs(client: Client) -> list[JobView]:
    """Every job, newest first."""
    page = client.list(limit=100)
    jobs = list(page.jobs)
    while page.next_cursor:
        page = client.list(cursor=page.next_cursor, limit=100)
        jobs += page.jobs
    return jobs


def _wishes(job: PlannedJob) -> dict[str, object]:
    return {"prompt": job.prompt, "size": SIZE, "quality": "low", "output_format": "jpeg"}


def _picture(folder: Path, colour: str) -> Path:
    file = folder / f"{colour}.png"
    Image.new("RGB", (320, 512), colour).save(file)
    return file
