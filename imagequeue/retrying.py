"""Which jobs may be tried again as new ones, and as what request."""

from __future__ import annotations

from imagequeue.errors import ImageQueueError, JobRunning
from imagequeue.jobs import Job, JobState
from imagequeue.requests import JobRequest, TurnRequest


class JobSucceeded(ImageQueueError):
    """The job has made its images: to try it again would pay for them a second time."""

    code = "job_succeeded"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"Job {job_id} has succeeded, and its images are there (GET /v1/jobs/{job_id}). To pay for other images of "
            "the same request, send that request as a new job (POST /v1/jobs)."
        )


class JobInSession(ImageQueueError):
    """The job is a session's turn, whose place in the order has passed."""

    code = "job_in_session"

    def __init__(self, job_id: str, session_id: str) -> None:
        super().__init__(
            f"Job {job_id} is a turn of session {session_id}: add the turn to the session again "
            f"(POST /v1/sessions/{session_id}/turns). It goes on from the last turn that succeeded."
        )


def request_again(job: Job) -> JobRequest:
    """The request of a job that failed or was cancelled, as it would be submitted once more.

    Raises:
        JobInSession: it is a session's turn: what it would edit may be another image by now.
        JobRunning: it has not ended.
        JobSucceeded: it has its images.
    """
    if isinstance(job.request, TurnRequest):
        raise JobInSession(job.id, job.session_id or "")
    if not job.state.terminal:
        raise JobRunning(job.id, "tried again")
    if job.state is JobState.SUCCEEDED:
        raise JobSucceeded(job.id)
    return job.request.model_copy(update={"webhook": job.webhook})
