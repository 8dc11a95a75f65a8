"""Which earlier jobs have images for a request, and jobs that are stored with copies of those.

An owner's index is a hash: under 22 characters for the request, the ULIDs of the newest eight jobs that made images for
it, newest first. It may name jobs that are gone: whoever looks there reads the job itself.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final, cast

from imagequeue.errors import IdempotencyKeyReused
from imagequeue.jobs import AttemptOutcome, Image, Job, JobState, NewJob, PriceEstimate, Result, Usage, fingerprint
from imagequeue.requests import EditRequest, TurnRequest
from imagequeue.store.connection import RedisClient, now_ms, translated
from imagequeue.store.job_codec import new_job_fields, result_fields
from imagequeue.store.jobs import IDEMPOTENCY_MS, JobStore, Stored, flat
from imagequeue.store.keys import Keys
from imagequeue.store.limits import limit_reached, quota
from imagequeue.store.scripts import Scripts

COPYING_MS: Final = 3_600_000
"""How long copying a job's images may take; what is left of it then belongs to nobody."""
_ULID_LENGTH: Final = 26
_DIGEST_BYTES: Final = 16
_FREE: Final = PriceEstimate(low_usd=0.0, expected_usd=0.0, high_usd=0.0)
_NO_TOKENS: Final = Usage(input_tokens=0, output_tokens=0, total_tokens=0, input_text_tokens=0, input_image_tokens=0)


@dataclass(frozen=True, slots=True)
class Reused:
    """A job that has succeeded as soon as it is stored, with `images`, which were copied from `earlier` to `folder`."""

    new: NewJob
    earlier: Job
    images: tuple[Image, ...]
    folder: str
    notes: tuple[str, ...]

    @property
    def fields(self) -> list[str]:
        """What is stored, as scripts take it."""
        result = Result(
            state=JobState.SUCCEEDED,
            outcome=AttemptOutcome.SUCCEEDED,
            inputs=self.earlier.inputs,
            images=self.images,
            usage=_NO_TOKENS,
            applied=self.earlier.applied,
            cost_usd_estimated=0.0,
            notes=self.notes,
        )
        free = {"estimate": _FREE.model_dump_json(), "reused_from": self.earlier.id}
        return flat({**new_job_fields(self.new), **result_fields(result), **free})


class ReuseStore:
    """Finds earlier jobs and stores jobs that use their images again.

    Every method raises StoreUnavailable when Redis does not answer.
    """

    def __init__(self, client: RedisClient, keys: Keys, jobs: JobStore) -> None:
        self._client = client
        self._keys = keys
        self._jobs = jobs
        self._scripts = Scripts(client)

    def earlier(self, new: NewJob) -> list[str]:
        """Ids of the owner's jobs whose images are those of an equal request, newest first; perhaps gone by now."""
        with translated():
            (found,) = self._client.hmget(self._keys.reuse(new.owner), [new_reuse_field(new)])
        ulids = found or ""
        return [f"job_{ulids[start : start + _ULID_LENGTH]}" for start in range(0, len(ulids), _ULID_LENGTH)]

    def begin_copies(self, folder: str) -> None:
        """Note, before the first is made, that there are copies in a folder that belong to no job yet."""
        due = now_ms(self._client) + COPYING_MS
        with translated():
            self._client.zadd(self._keys.copies, {folder: due})

    def store(self, reused: Reused) -> Stored | None:
        """Store the job; None: copying took too long.

        Raises:
            IdempotencyKeyReused, LimitReached: see JobStore.store.
        """
        new = reused.new
        once = [new.idempotency.fingerprint if new.idempotency else "", IDEMPOTENCY_MS]
        about = [new.key_id or "", new_reuse_field(new), new.retention_ms]
        arguments = [new.id, reused.folder, *once, *about, *reused.fields]
        answer = self._scripts.run("reuse", self._jobs.keys_of_new(new), arguments)
        what, *details = cast("list[str | int]", answer)
        if what == "too_late":
            return None
        if what == "idempotency_key_reused":
            raise IdempotencyKeyReused
        if what == "replayed":
            return Stored(self._jobs.get(str(details[0])))
        figures = [int(detail) for detail in details]
        if what != "stored":
            raise limit_reached(str(what), figures, cost_usd=0.0)
        return Stored(self._jobs.get(new.id), quota(figures[1:]), announced=bool(figures[0]))

    def abandoned_copies(self, before: int, limit: int) -> list[str]:
        """Folders whose copies belong to no job, and never will, by the time `before` (ms)."""
        with translated():
            return self._client.zrangebyscore(self._keys.copies, "-inf", str(before), 0, limit)

    def forget_copies(self, folder: str) -> None:
        """The copies in a folder are deleted."""
        with translated():
            self._client.zrem(self._keys.copies, folder)


def new_reuse_field(new: NewJob) -> str:
    """The place of a new request in its owner's index; '' when its images are not known yet, or for a turn."""
    request = new.request
    if isinstance(request, TurnRequest) or (isinstance(request, EditRequest) and request.has_urls):
        return ""
    return _digest(new.fingerprint)


def reuse_field(job: Job) -> str:
    """The place in its owner's index of a job that has all the images that were asked for; '' for all others.

    What an edit's URLs gave is known by then: it is as if those images had been uploaded.
    """
    request = job.request
    if isinstance(request, TurnRequest) or len(job.images) != request.n:
        return ""
    return _digest(resolved_fingerprint(job))


def resolved_fingerprint(job: Job) -> str:
    """The fingerprint of an equal request whose images were uploaded."""
    request = job.request
    if not isinstance(request, EditRequest) or not job.inputs:
        return job.fingerprint
    uploads = [f"upload:{given.sha256}" for given in job.inputs]
    count = len(request.images)
    mask = uploads[count] if request.mask else None
    return fingerprint(job.model, request.model_copy(update={"images": tuple(uploads[:count]), "mask": mask}))


def _digest(hexadecimal: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(hexadecimal)[:_DIGEST_BYTES]).decode().rstrip("=")
