"""A job as the fields of its Redis hash, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from imagequeue.jobs import Attempt, Job, JobError, JobOutcome, NewJob, Result
from imagequeue.requests import ignored_settings

_JSON_FIELDS = ("request", "estimate", "inputs", "images", "usage", "applied", "error", "notes")
_ATTEMPT_PREFIX = "attempt:"
OUTCOME_FIELDS = ("id", "custom_id", "started_at", "finished_at", "reused_from", "attempt", "error")
"""What `outcome_from_fields` takes."""


def to_json(value: object) -> str:
    """Short JSON that UTF-8 and Lua can carry: half of a pair, as of an emoji that a provider cut, becomes `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace").decode()


def new_job_fields(new: NewJob) -> dict[str, str]:
    """What submit writes besides what the script adds itself."""
    notes = ignored_settings(new.request)
    belongs = {
        "session_id": new.session_id,
        "custom_id": new.custom_id,
        "key_id": new.key_id,
        "webhook": new.webhook,
        "notes": to_json(notes) if notes else None,
    }
    return {
        **{name: value for name, value in belongs.items() if value},
        "type": new.request.type,
        "owner": new.owner,
        "lane": new.lane,
        "model": new.model,
        "fingerprint": new.fingerprint,
        "on_unknown_outcome": new.on_unknown_outcome,
        "request": to_json({**new.request.model_dump(mode="json", exclude_defaults=True), "type": new.request.type}),
        "load": str(new.load),
        "estimate": new.estimate.model_dump_json(),
        "retention_ms": str(new.retention_ms),
    }


def result_fields(result: Result) -> dict[str, str]:
    """What finish writes; fields without a value are left out."""
    data = result.model_dump(mode="json", exclude_none=True, exclude={"state", "outcome", "request_id"})
    return {name: to_json(value) for name, value in data.items() if value not in ([], {})}


def job_from_answer(answer: Sequence[str]) -> Job:
    """Read a job back from a script's answer: fields and values in turn."""
    return job_from_hash(dict(zip(answer[::2], answer[1::2], strict=True)))


def outcome_from_fields(values: Sequence[str | None]) -> JobOutcome | None:
    """Read part of a job back; None when there is none, or when all of its hash tells how many tries it took."""
    job_id, custom_id, started_at, finished_at, reused_from, attempt, error = values
    if job_id is None or attempt not in ("0", "1"):  # attempts that a blocked account refused do not count
        return None
    return JobOutcome(
        id=job_id,
        custom_id=custom_id,
        started_at=int(started_at) if started_at else None,
        finished_at=int(finished_at) if finished_at else None,
        reused_from=reused_from,
        tries=int(attempt),
        error=JobError.model_validate_json(error) if error else None,
    )


def job_from_hash(fields: Mapping[str, str]) -> Job:
    """Read a job back. Fields that only scripts need are passed over."""
    data: dict[str, object] = {name: value for name, value in fields.items() if name in Job.model_fields}
    data.update({name: json.loads(fields[name]) for name in _JSON_FIELDS if name in fields})
    attempts = [
        Attempt.model_validate_json(value) for name, value in fields.items() if name.startswith(_ATTEMPT_PREFIX)
    ]
    data["attempts"] = tuple(sorted(attempts, key=lambda attempt: attempt.number))
    return Job.model_validate(data)
