"""A seeded random walk over everything that can happen to jobs and edit sessions, stale holders included."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from store_kit import BUSY, HOUR_MS, LONG_AGO_MS, OWNER, RESULTS, SUCCEEDED, Bench, new_job
from turn_kit import be_idle, painted, turn_job

from imagequeue.errors import JobFinished, SessionClosed, SessionFull
from imagequeue.jobs import LANES, AttemptOutcome, Claim, Job
from imagequeue.sessions import NewSession, Session, SessionState, SessionSubmit
from imagequeue.store.attempts import job_id_of, lease_of
from imagequeue.store.webhooks import WebhookStore
from imagequeue.webhooks import EVENT_TYPES

OWNERS = (OWNER, "owner-2")
WEBHOOK = "https://example.com/hook"
KEYS = {OWNER: None, "owner-2": "key_walk"}
"""The API key that pays for an owner's jobs."""
HOLDERS = ("holder-1", "holder-2", "holder-3")
_RELEASES = (AttemptOutcome.BUSY, AttemptOutcome.BUSY, AttemptOutcome.UNKNOWN)
_OPEN_JOBS = 5
_ACTIVE_SESSIONS = 2
_MOST_TURNS = 3


class Walk:
    """Takes random steps; the same seed gives the same steps as long as the store gives the same answers."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self._bench = bench
        self._random = random.Random(seed)
        self.jobs: list[Job] = []
        self.sessions: dict[str, str] = {}  # and the image that each was forked from, '' for those that start afresh
        self.claims: list[Claim] = []  # all that were ever given, so that stale holders act too
        self.log: list[str] = []
        WebhookStore(bench.client, bench.keys).put_endpoint(OWNERS[1], WEBHOOK, EVENT_TYPES)

    def step(self) -> None:
        """Do one thing and note it with its answer."""
        steps: dict[Callable[[], str], int] = {
            self._submit: 3,
            self._start_session: 2,
            self._fork: 1,
            self._add_turn: 6,
            self._end_session: 1,
            self._be_idle: 1,
            self._submit_again: 1,
            self._sent: 2,
            self._claim: 8,
            self._start_call: 5,
            self._renew: 2,
            self._finish: 5,
            self._release: 3,
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
        owner = self._random.choice(OWNERS)
        new = new_job(
            id=f"job_{len(self.jobs):04}",
            owner=owner,
            key_id=KEYS[owner],
            lane=self._random.choice(LANES),
            on_unknown_outcome=self._random.choice(("retry", "retry", "fail")),
            webhook=WEBHOOK if len(self.jobs) % 2 else None,
        )
        self.jobs.append(self._bench.store.submit(new))
        return new.id

    def _start_session(self) -> str:
        if len(self._active_sessions()) >= _ACTIVE_SESSIONS:
            return "enough"
        session_id = self._new_session_id("")
        owner = self._random.choice(OWNERS)
        new = NewSession(id=session_id, owner=owner, output_format="png")
        return self._join(session_id, owner, SessionSubmit("start", fields=new.fields))

    def _fork(self) -> str:
        images = [session for session in self._all_sessions() if session.image]
        if not images or len(self._active_sessions()) >= _ACTIVE_SESSIONS:
            return "none"
        session = self._random.choice(images)
        image = session.image
        assert image is not None
        forked_from = f"{session.id}/{session.turn}"
        new_id = self._new_session_id(image.key)
        new = NewSession(id=new_id, owner=session.owner, output_format="png", image=image, forked_from=forked_from)
        return self._bench.sessions.fork(new).id

    def _add_turn(self) -> str:
        """Add a turn to an active session, or, one time in ten, to any."""
        chosen = self._active_sessions() if self._random.random() < 0.9 else self._all_sessions()
        if not chosen:
            return "none"
        session = self._random.choice(chosen)
        return self._join(session.id, session.owner, SessionSubmit("continue", HOUR_MS, _MOST_TURNS))

    def _join(self, session_id: str, owner: str, joins: SessionSubmit) -> str:
        policy = self._random.choice(("retry", "retry", "fail"))
        job_id, key_id = f"job_{len(self.jobs):04}", KEYS[owner]
        fields = turn_job(session_id, id=job_id, owner=owner, key_id=key_id, on_unknown_outcome=policy)
        try:
            job = self._bench.store.submit(new_job(**fields), joins)
        except (SessionClosed, SessionFull) as refusal:
            return f"{session_id} {refusal.code}"
        self.jobs.append(job)
        return f"{job.id} of {session_id}"

    def _end_session(self) -> str:
        if self._random.random() < 0.5 or not (active := self._active_sessions()):
            return "none"
        return self._bench.sessions.end(self._random.choice(active)).id

    def _be_idle(self) -> str:
        if not (active := self._active_sessions()):
            return "none"
        session_id = self._random.choice(active).id
        be_idle(self._bench, session_id)
        return session_id

    def _new_session_id(self, image: str) -> str:
        session_id = f"ses_{len(self.sessions):03}"
        self.sessions[session_id] = image
        return session_id

    def _all_sessions(self) -> list[Session]:
        return [self._bench.sessions.get(session_id) for session_id in self.sessions]

    def _active_sessions(self) -> list[Session]:
        return [session for session in self._all_sessions() if session.state is SessionState.ACTIVE]

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
        same = job.model_dump(include={"id", "owner", "key_id", "lane", "session_id", "request", "on_unknown_outcome"})
        joins = SessionSubmit("continue", HOUR_MS, _MOST_TURNS) if job.session_id else None
        return self._bench.store.submit(new_job(**same), joins).state

    def _sent(self) -> str:
        if not (job := self._job()):
            return "none"
        self._bench.store.sent(job.id)
        return job.id

    def _claim(self) -> str:
        """Claim one that waits in the queue, or, one time in three, any."""
        ready = [job_id for lane in LANES for job_id in islice(self._bench.store.unhinted(lane), 10)]
        chosen = self._bench.store.get_many(ready) if self._random.random() < 0.67 else []
        job = self._random.choice(chosen) if chosen else self._job()
        if not job:
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
        if not (claim := self._held()):
            return "none"
        result = self._random.choice((SUCCEEDED, SUCCEEDED, *RESULTS))
        image = painted(claim)[1] if claim.job.session_id and result is SUCCEEDED else None
        return str(self._bench.store.finish(claim, result, image))

    def _release(self) -> str:
        if not (claim := self._held()):
            return "none"
        delay_ms = self._random.choice((0, HOUR_MS))
        return self._bench.store.release(claim, self._random.choice(_RELEASES), BUSY, delay_ms, None)

    def _cancel(self) -> str:
        if job := self._job():
            with suppress(JobFinished):
                return str(self._bench.store.cancel(job))
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
        due = self._bench.store.due(0, HOUR_MS, HOUR_MS, 100)
        leases = sorted(due.lapsed)
        if self.claims and self._random.random() < 0.2:
            leases.append(lease_of(self._random.choice(self.claims)))
        answers = [self._bench.store.sweep(job_id_of(lease), lease) for lease in leases]
        answers += [self._bench.store.sweep(job_id) for job_id in sorted(due.delayed)]
        for entry in sorted(due.halted):
            self._bench.store.cancel_halted(entry)
        for session_id in sorted(due.idle_sessions):
            self._bench.sessions.expire(session_id, HOUR_MS)
            # One that stays is looked at again a second later: let that pass, or the next sweep depends on the clock.
            self._bench.raw.zadd(self._bench.keys.sessions_idle, {session_id: LONG_AGO_MS}, xx=True)
        return f"{answers} {sorted(due.halted)} {sorted(due.idle_sessions)}"
