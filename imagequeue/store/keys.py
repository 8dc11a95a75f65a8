"""The only place where a Redis key is spelled; batch_keys.py is a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from imagequeue.jobs import JobState, Lane
from imagequeue.store.batch_keys import NONE, BatchKeys


@dataclass(frozen=True, slots=True)
class Keys(BatchKeys):
    """All keys under one prefix. docs/redis-data-model.md says what each holds."""

    @property
    def outbox(self) -> str:
        """Sorted set: ids whose Celery message is not sent yet, by the time they joined (ms)."""
        return f"{self.prefix}outbox"

    @property
    def delayed(self) -> str:
        """Sorted set: ids of queued jobs that wait for a retry, by the time it is due (ms)."""
        return f"{self.prefix}delayed"

    @property
    def leases(self) -> str:
        """Sorted set: `job_id:attempt:holder` by the time the lease lapses (ms)."""
        return f"{self.prefix}leases"

    @property
    def workers(self) -> str:
        """Sorted set: worker processes by their last sign of life (ms)."""
        return f"{self.prefix}workers"

    @property
    def sequence(self) -> str:
        """Counter: places in the queue."""
        return f"{self.prefix}sequence"

    @property
    def sweeper(self) -> str:
        """Lock: the one worker that sweeps now."""
        return f"{self.prefix}sweeper"

    @property
    def sweeps(self) -> str:
        """Hash: when the last sweep was, and until when lapsed leases are spared after a gap (ms)."""
        return f"{self.prefix}sweeps"

    @property
    def limiter(self) -> str:
        """Hash: the fleet's rate limits, pause and circuit breaker."""
        return f"{self.prefix}limiter"

    @property
    def durations(self) -> str:
        """Hash: how long calls lately took, `milliseconds:count` by their class, see durations.call_class."""
        return f"{self.prefix}durations"

    def parked(self, lane: Lane) -> str:
        """Sorted set: queued jobs of a lane that wait for the limiter, by their place."""
        return f"{self.prefix}parked:{lane}"

    @property
    def parked_loads(self) -> str:
        """Hash: what the call of each parked job uses, as `images:tokens:inputs`."""
        return f"{self.prefix}parked:loads"

    @property
    def granted(self) -> str:
        """Hash: jobs that the limiter let go and that are not claimed yet: `plain`, or `probe` of the breaker."""
        return f"{self.prefix}granted"

    def suspect(self, worker: str) -> str:
        """String: the job that a worker process runs although it lost workers before; one at a time."""
        return f"{self.prefix}suspect:{worker}"

    @property
    def edit_route(self) -> str:
        """String: the route that edits take while `/v1/images/edits` refuses the model; gone after an hour."""
        return f"{self.prefix}edit_route"

    def probe(self, nonce: str) -> str:
        """String: a worker's answer to one probe of the message path."""
        return f"{self.prefix}probe:{nonce}"

    def delivery(self, owner: str, fingerprint: str) -> str:
        """String: the job of a call whose result was not handed over yet; gone after a day."""
        return f"{self.prefix}delivery:{owner}:{fingerprint}"

    def open_calls(self, owner: str, fingerprint: str) -> str:
        """Hash: until when (ms) who waits for the answer, by the jobs of equal calls; gone after a day."""
        return f"{self.prefix}open_calls:{owner}:{fingerprint}"

    def reuse(self, owner: str) -> str:
        """Hash: which of an owner's jobs have images for a request, by the request's digest; see store/reuse.py."""
        return f"{self.prefix}reuse:{owner}"

    @property
    def copies(self) -> str:
        """Sorted set: folders in S3 whose images belong to no job yet, by when they are deleted (ms)."""
        return f"{self.prefix}copies"

    def waiting(self, lane: Lane) -> str:
        """Sorted set: queued jobs of a lane by their place; the rank is the position."""
        return f"{self.prefix}waiting:{lane}"

    def job(self, job_id: str) -> str:
        """Hash: the job."""
        return f"{self.prefix}job:{job_id}"

    def events(self, job_id: str) -> str:
        """Stream: what happened to the job."""
        return f"{self.prefix}events:{job_id}"

    def index(self, owner: str, state: JobState | None) -> str:
        """Sorted set, all scores 0: an owner's job ids in time order (ids sort by time), all or of one state."""
        return f"{self.prefix}index:{owner}:{state or 'all'}"

    @property
    def halted(self) -> str:
        """Sorted set: `job_id:reason` of turns taken out of their session, until they are cancelled."""
        return f"{self.prefix}halted"

    @property
    def sessions_idle(self) -> str:
        """Sorted set: active sessions by the time they were last used, or looked at (ms)."""
        return f"{self.prefix}sessions:idle"

    def session(self, session_id: str) -> str:
        """Hash: the edit session, with its turn lock."""
        return f"{self.prefix}session:{session_id}"

    def turns(self, session_id: str) -> str:
        """Sorted set: the session's turns that run or wait, by place; only the first may run."""
        return f"{self.prefix}turns:{session_id}"

    def history(self, session_id: str) -> str:
        """Sorted set: the jobs of all turns of the session, by number."""
        return f"{self.prefix}history:{session_id}"

    def session_index(self, owner: str) -> str:
        """Sorted set, all scores 0: an owner's session ids in time order."""
        return f"{self.prefix}index:{owner}:sessions"

    @property
    def sessions_closed(self) -> str:
        """Sorted set: sessions that are over, by when retention looks at them next (ms)."""
        return f"{self.prefix}sessions:closed"

    @property
    def finished(self) -> str:
        """Sorted set: jobs that have ended and are still in Redis, by when they ended (ms)."""
        return f"{self.prefix}finished"

    def archive(self, owner: str, hour: int) -> str:
        """List: an owner's archived jobs whose ids were made in one hour since 1970; see store/archive.py."""
        return f"{self.prefix}archive:{owner}:{hour}"

    def archive_hours(self, owner: str) -> str:
        """Sorted set: the hours of which an owner has archived jobs."""
        return f"{self.prefix}archive:{owner}:hours"

    @property
    def expiring(self) -> str:
        """Sorted set: `hour:owner` of the archives, by when the retention of a job in it ends (ms)."""
        return f"{self.prefix}expiring"

    @property
    def leaving(self) -> str:
        """Sorted set: `job_id:owner` of jobs that are being deleted, by when retention goes on with that (ms)."""
        return f"{self.prefix}leaving"

    def pinned(self, job_id: str) -> str:
        """Set: sessions that were forked from the job's image."""
        return f"{self.prefix}pinned:{job_id}"

    @property
    def input_uses(self) -> str:
        """Sorted set: sha256 of input images that are about to be used, by when that was noted (ms); of an hour."""
        return f"{self.prefix}inputs:uses"

    @property
    def inputs_leaving(self) -> str:
        """Sorted set: sha256 of input images that are being deleted, by since when (ms)."""
        return f"{self.prefix}inputs:leaving"

    @property
    def housekeeper(self) -> str:
        """Lock: the one worker that archives and deletes now."""
        return f"{self.prefix}housekeeper"

    @property
    def housekeeping(self) -> str:
        """Hash: `inputs_after` and `inputs_due`, where the round through the input images is and when it goes on."""
        return f"{self.prefix}housekeeping"

    def usage(self, owner: str) -> str:
        """Hash: an owner's figures, `day:counter:model`; days since 1970; 400 days of them."""
        return f"{self.prefix}usage:{owner}"

    def webhook_disabled(self, owner: str) -> str:
        """Hash: why an owner's endpoint gets nothing any more, by its id."""
        return f"{self.prefix}webhooks:disabled:{owner}"

    def webhook_secrets(self, owner: str) -> str:
        """Sorted set: an owner's secrets by the time until which they sign (ms); `inf` for the one in use."""
        return f"{self.prefix}webhooks:secrets:{owner}"

    def webhook_delivery(self, delivery_id: str) -> str:
        """Hash: the telling of one event to one URL, with its attempts."""
        return f"{self.prefix}webhooks:delivery:{delivery_id}"

    def webhook_log(self, owner: str) -> str:
        """Sorted set: an owner's last deliveries by the time they were made (ms)."""
        return f"{self.prefix}webhooks:log:{owner}"

    def webhook_subject(self, job_id: str) -> str:
        """Sorted set: a job's deliveries by the time they were made (ms)."""
        return f"{self.prefix}webhooks:of:{job_id}"

    @property
    def webhook_receivers(self) -> str:
        """Sorted set: the origins of URLs with pending deliveries, by the time their first one is due (ms)."""
        return f"{self.prefix}webhooks:receivers"

    @property
    def webhook_failing(self) -> str:
        """Hash: the receivers whose last attempt failed, until one succeeds."""
        return f"{self.prefix}webhooks:failing"

    def webhook_due(self, receiver: str) -> str:
        """Sorted set: a receiver's pending deliveries by the time the next attempt is due (ms)."""
        return f"{self.prefix}webhooks:due:{receiver}"

    def webhook_flying(self, receiver: str) -> str:
        """Sorted set: a receiver's deliveries that are being attempted, by the time their lease lapses (ms)."""
        return f"{self.prefix}webhooks:flying:{receiver}"

    def for_webhook_owner(self, owner: str) -> Mapping[str, str]:
        """The keys that scripts name in their headers, for an owner's endpoints and secrets."""
        return {
            "webhook_endpoints": self.webhook_endpoints(owner),
            "webhook_disabled": self.webhook_disabled(owner),
            "webhook_secrets": self.webhook_secrets(owner),
        }

    def for_delivery(self, delivery_id: str, owner: str, job_id: str, receiver: str) -> Mapping[str, str]:
        """The keys that scripts name in their headers, for one delivery."""
        return {
            **self.for_receiver(receiver),
            "webhook_delivery": self.webhook_delivery(delivery_id),
            "webhook_log": self.webhook_log(owner),
            "webhook_subject": self.webhook_subject(job_id),
        }

    def for_receiver(self, receiver: str) -> Mapping[str, str]:
        """The keys that scripts name in their headers, for one receiver of webhooks."""
        return {
            "webhook_due": self.webhook_due(receiver),
            "webhook_flying": self.webhook_flying(receiver),
            "webhook_receivers": self.webhook_receivers,
            "webhook_failing": self.webhook_failing,
        }

    def for_session(self, session_id: str, owner: str) -> Mapping[str, str]:
        """The keys that scripts name in their headers, for one session."""
        return {
            "session": self.session(session_id),
            "turns": self.turns(session_id),
            "history": self.history(session_id),
            "index_sessions": self.session_index(owner),
            "sessions_idle": self.sessions_idle,
            "sessions_closed": self.sessions_closed,
            "halted": self.halted,
        }

    @property
    def api_keys(self) -> str:
        """Sorted set, all scores 0: the ids of all API keys in time order."""
        return f"{self.prefix}api_keys"

    @property
    def api_key_pepper(self) -> str:
        """String: tells whether a process has the pepper that the keys' digests were made with."""
        return f"{self.prefix}api_key_pepper"

    def api_key(self, key_id: str) -> str:
        """Hash: the API key, without its secret."""
        return f"{self.prefix}api_key:{key_id}"

    def api_key_by(self, digest: str | None) -> str:
        """String: the id of the API key whose secret has this digest; a rotated secret's is gone after its grace.

        Without a digest, a key that never exists.
        """
        return f"{self.prefix}api_key_by:{digest or NONE}"

    def idempotency(self, owner: str, digest: str) -> str:
        """String: `fingerprint job_id` of what came with an Idempotency-Key; gone after a day."""
        return f"{self.prefix}idempotency:{owner}:{digest}"

    def for_key(self, key_id: str | None) -> Mapping[str, str]:
        """The keys that scripts name in their headers, for one API key; without one, keys that never exist.

        `reserved`: hash, what each job of it that has not ended may cost. `spending`: hash, what is reserved in all and
        what was spent by day and month. `pace`: string, how many jobs of its minute were used, and when that was (ms).
        """
        kept = key_id or NONE
        return {
            "api_key": self.api_key(kept),
            **{name: f"{self.prefix}{name}:{kept}" for name in ("reserved", "spending", "pace")},
        }

    def for_job(
        self,
        job_id: str,
        owner: str,
        lane: Lane,
        session_id: str | None,
        key_id: str | None,
        batch_id: str | None,
    ) -> Mapping[str, str]:
        """The keys that scripts name in their headers, for one job; without session or batch, keys that never exist."""
        return {
            **_belongings(self, owner, lane, session_id, key_id, batch_id),
            "job": self.job(job_id),
            "events": self.events(job_id),
            "pinned": self.pinned(job_id),
        }

    def for_fleet(self) -> Mapping[str, str]:
        """The keys that scripts name in their headers, for no job in particular."""
        return {
            **self.shared,
            "workers": self.workers,
            "sweeps": self.sweeps,
            "halted": self.halted,
            "sessions_idle": self.sessions_idle,
        }

    def for_archive(self, owner: str, hour: int) -> Mapping[str, str]:
        """The keys that scripts name in their headers, for the archive that a job belongs to."""
        return {"archive": self.archive(owner, hour), "archive_hours": self.archive_hours(owner)}

    @property
    def shared(self) -> Mapping[str, str]:
        """The keys that scripts name in their headers, the same for all jobs."""
        return {
            "outbox": self.outbox,
            "delayed": self.delayed,
            "leases": self.leases,
            "sequence": self.sequence,
            "changes": self.changes,
            "limiter": self.limiter,
            "durations": self.durations,
            "parked_interactive": self.parked("interactive"),
            "parked_batch": self.parked("batch"),
            "parked_loads": self.parked_loads,
            "granted": self.granted,
            "finished": self.finished,
            "expiring": self.expiring,
            "leaving": self.leaving,
            "input_uses": self.input_uses,
            "inputs_leaving": self.inputs_leaving,
            "copies": self.copies,
        }


@lru_cache(maxsize=512)
def _belongings(
    keys: Keys, owner: str, lane: Lane, session_id: str | None, key_id: str | None, batch_id: str | None
) -> Mapping[str, str]:
    """The keys that jobs of the same owner, lane, session, API key and batch share; each step of a job asks again."""
    return {
        **keys.for_key(key_id),
        **keys.for_session(session_id or NONE, owner),
        **keys.for_batch(batch_id, owner),
        **keys.shared,
        "waiting": keys.waiting(lane),
        "parked": keys.parked(lane),
        "usage": keys.usage(owner),
        "reuse": keys.reuse(owner),
        "index_all": keys.index(owner, None),
        **{f"index_{state}": keys.index(owner, state) for state in JobState},
    }
