"""`imagequeue jobs list`, `show`, `cancel` and `retry`."""

from __future__ import annotations

from pathlib import Path

from imagequeue.cli.connection import connect
from imagequeue.cli.delivery import Delivery, hand_over
from imagequeue.cli.exits import say
from imagequeue.cli.output import cost_text, dollars, local_time, one_line, print_json, print_line, print_table
from imagequeue.cli.submission import submitted
from imagequeue.client import Client
from imagequeue.jobs import JobState, JobType
from imagequeue.requests import GenerateRequest
from imagequeue.views import AttemptView, ImageView, JobPage, JobView

_LARGEST_PAGE = 100
_LONG = 2000


def list_jobs(state: str | None, job_type: JobType | None, limit: int, *, as_json: bool) -> None:
    """Print the newest jobs, fetching as many pages as `limit` needs."""
    with connect() as client:
        page = _collect(client, JobState(state) if state else None, job_type, limit)
    if as_json:
        print_json(page)
        return
    rows = [
        (job.id, job.state, local_time(job.created_at), dollars(job.cost_usd_estimated), one_line(job.request.prompt))
        for job in page.jobs
    ]
    if not rows:
        kinds = " ".join(kind for kind in (state, job_type) if kind)
        say(f"No {kinds} jobs." if kinds else 'No jobs yet. Make one: imagequeue generate "a lighthouse at dawn"')
        return
    print_table(("id", "state", "created", "cost", "prompt"), rows, long={"prompt"})
    if page.next_cursor:
        say(f"There are more; see them with --limit {limit * 2}.")


def show(job_id: str, *, as_json: bool) -> None:
    """Print all about one job."""
    with connect() as client:
        job = client.get(job_id)
    if as_json:
        print_json(job)
        return
    for name, value in _facts(job):
        print_line(f"{name + ':':<11} {value}")


def cancel(job_id: str, *, as_json: bool) -> None:
    """Cancel a job and say what that came to."""
    with connect() as client:
        job = client.cancel(job_id)
    if as_json:
        print_json(job)
    elif job.state is JobState.CANCELLED:
        charged = "the call that its worker had sent may still be charged" if job.attempts else "nothing was spent"
        print_line(f"{job.id} is cancelled; {charged}.")
    else:
        print_line(f"{job.id} is {job.state}; its worker was asked to stop. A call in flight may still be charged.")


def retry(job_id: str, *, as_json: bool) -> None:
    """Submit a job's request again and name the new job."""
    with connect() as client:
        hand_over(client, submitted(lambda: client.retry(job_id)), Delivery(Path(), wait=False, as_json=as_json))


def _collect(client: Client, state: JobState | None, job_type: JobType | None, limit: int) -> JobPage:
    page = client.list(state, limit=min(limit, _LARGEST_PAGE), job_type=job_type)
    jobs = page.jobs
    while page.next_cursor and len(jobs) < limit:
        page = client.list(state, page.next_cursor, min(limit - len(jobs), _LARGEST_PAGE), job_type=job_type)
        jobs += page.jobs
    return JobPage(jobs=jobs, next_cursor=page.next_cursor)


def _facts(job: JobView) -> list[tuple[str, str]]:
    settings = job.request.model_dump(exclude={"prompt", "type", "images", "mask"}, exclude_none=True)
    request = {name: value for name, value in settings.items() if (name, value) != ("partial_images", 0)}
    facts = [
        ("Job", job.id),
        ("State", job.state if job.waiting_for is None else f"{job.state}, waits for {job.waiting_for}"),
        ("Prompt", one_line(job.request.prompt, _LONG)),
        ("Request", ", ".join(f"{name}={value}" for name, value in request.items())),
        ("Model", job.model),
        ("Created", local_time(job.created_at)),
    ]
    if not isinstance(job.request, GenerateRequest):
        facts += [("Input", one_line(source, _LONG)) for source in job.request.images]
        facts += [("Mask", one_line(job.request.mask, _LONG))] if job.request.mask else []
    if job.session_id:
        facts.append(("Session", f"{job.session_id}, turn {job.turn}"))
    if job.position is not None:
        facts.append(("Position", f"{job.position:,}"))
    if job.finished_at:
        facts.append(("Finished", local_time(job.finished_at)))
    facts += [("Attempt", _attempt_line(attempt)) for attempt in job.attempts]
    facts += [("Image", _image_line(image)) for image in job.images]
    if job.error:
        facts.append(("Error", f"{job.error.code}: {one_line(job.error.message, _LONG)}"))
    facts += [("Note", one_line(note, _LONG)) for note in job.notes]
    if job.state.terminal:
        facts.append(("Cost", cost_text(job)))
    else:
        estimate = job.estimate
        facts.append(("Estimate", f"{dollars(estimate.low_usd)} to {dollars(estimate.high_usd)}"))
    return facts


def _attempt_line(attempt: AttemptView) -> str:
    parts = [
        f"{attempt.number}. {local_time(attempt.started_at)}",
        attempt.outcome or "running",
        f"by {attempt.worker}",
        f"OpenAI's id {attempt.request_id}" if attempt.request_id else "",
        one_line(attempt.error, _LONG) if attempt.error else "",
    ]
    return ", ".join(part for part in parts if part)


def _image_line(image: ImageView) -> str:
    return f"{image.filename}  {image.width}x{image.height}  {image.size_bytes:,} bytes  {image.url}"
