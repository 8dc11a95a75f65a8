"""A seeded random walk over everything that can happen to jobs, stale holders included."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

from store_kit import BUSY, HOUR_MS, LONG_AGO_MS, OWNER, RESULTS, Bench, new_job

from imagequeue.errors import JobFinished
from imagequeue.jobs import LANES, AttemptOutcome, Claim, Job
from imagequeue.store.jobs import job_id_of, lease_of

OWNERS = (OWNER, "owner-2")
HOLDERS = ("holder-1", "holder-2", "holder-3")
_RELEASES = (AttemptOutcome.BUSY, AttemptOutcome.BUSY, AttemptOutcome.UNKNOWN)
_OPEN_JOBS = 5


class Walk:
    """Takes random steps; the same seed gives the same steps as long as the store gives the same answers."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self._bench = bench
        self._random = random.Random(seed)
        self.jobs: list[Job] = []
        self.claims: list[Claim] = []  # all that were ever given, so that stale holders act too
        self.log: list[str] = []

    def step(self) -> None:
        """Do one thing and note it with its answer."""
        steps: dict[Callable[[], str], int] = {
            self._submit: 3,
            self._submit_again: 1,
            self._sent: 2,
            self._claim: 8,
            self._start_call: 5,
            self._renew: 2,
            self._finish: 3,
            self._release: 4,
            self._cancel: 1,
            self._lapse: 3,
            self._end_delay: 3,
            self._sweep: 8,
        }
        (chosen,) = self._random.choices(list(steps), list(steps.values()))
        self.log.append(f"{chosen.__name__}: {chosen()}")

    def _submit(self) -> str:
        if len(self._open_jobs()) >= _OPEN_JOBS:
            return "enough"
        new = new_job(
            id=f"job_{len(self.jobs):04}",
            owner=self._random.choice(OWNERS),
            lane=self._random.choice(LANES),
            on_unknown_outcome=self._random.choice(("retry", "retry", "fail")),
        )
        self.jobs.append(self._bench.store.submit(new))
        return new.id

    def _job(self) -> Job | None:
        """An open job, or, one time in ten, any."""
        chosen = self._open_jobs() if self._random.random() < 0.9 else self.jobs
        return self._random.choice(chosen) if chosen else None

    def _open_jobs(self) -> list[Job]:
        jobs = self._bench.store.get_many([job.id for job in self.jobs])
        return [job for job in jobs if not job.state.terminal]

    def _held(self) -> Claim | None:
        """A claim that holds, or, one time in three, any that was ever given."""
        leases = self._bench.members(self._bench.keys.leases)
        holding = [claim for claim in self.claims if lease_of(claim) in leases]
        chosen = holding if holding and self._random.random() < 0.67 else self.claims
        return self._random.choice(chosen) if chosen else None

    def _submit_again(self) -> str:
        if not (job := self._job()):
            return "none"
        new = new_job(id=job.id, owner=job.owner, lane=job.lane, on_unknown_outcome=job.on_unknown_outcome)
        return self._bench.store.submit(new).state

    def _sent(self) -> str:
        if not (job := self._job()):
            return "none"
        self._bench.store.sent(job.id)
        return job.id

    def _claim(self) -> str:
        if not (job := self._job()):
            return "none"
        claim = self._bench.claim(job.id, self._random.choice(HOLDERS))
        if claim is None:
            return f"{job.id} refused"
        if claim not in self.claims:
            self.claims.append(claim)
        return lease_of(claim)

    def _start_call(self) -> str:
        claim = self._held()
        return self._bench.store.start_call(claim, "direct") if claim else "none"

    def _renew(self) -> str:
        leases = [lease_of(claim) for claim in self.claims[-3:]]
        return str(self._bench.store.renew("worker-1", leases, HOUR_MS))

    def _finish(self) -> str:
        claim = self._held()
        return str(self._bench.store.finish(claim, self._random.choice(RESULTS))) if claim else "none"

    def _release(self) -> str:
        if not (claim := self._held()):
            return "none"
        delay_ms = self._random.choice((0, HOUR_MS))
        return self._bench.store.release(claim, self._random.choice(_RELEASES), BUSY, delay_ms, None)

    def _cancel(self) -> str:
        if job := self._job():
            with suppress(JobFinished):
                return self._bench.store.cancel(job)
        return "none or finished"

    def _lapse(self) -> str:
        leases = sorted(self._bench.members(self._bench.keys.leases))
        if not leases:
            return "none"
        lease = self._random.choice(leases)
        self._bench.raw.zadd(self._bench.keys.leases, {lease: LONG_AGO_MS})
        return lease

    def _end_delay(self) -> str:
        delayed = sorted(self._bench.members(self._bench.keys.delayed))
        if not delayed:
            return "none"
        job_id = self._random.choice(delayed)
        self._bench.end_delay(job_id)
        return job_id

    def _sweep(self) -> str:
        """Sweep all that is due, and now and then something that is not."""
        due = self._bench.store.due(0, 100)
        leases = sorted(due.lapsed)
        if self.claims and self._random.random() < 0.2:
            leases.append(lease_of(self._random.choice(self.claims)))
        answers = [self._bench.store.sweep(job_id_of(lease), lease) for lease in leases]
        answers += [self._bench.store.sweep(job_id) for job_id in sorted(due.delayed)]
        return str(answers)
