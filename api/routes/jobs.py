"""Jobs."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel

from api.context import the_queue
from api.document import add_route, json_answer, make_blueprint
from api.parameters import JobListQuery, JobPath, JobQuery, NoQuery, PreferHeader
from api.problems import RETRY_AFTER_SECONDS
from api.request_body import read_json_object
from imagequeue.jobs import Job, JobState
from imagequeue.requests import GenerateRequest, parse_request
from imagequeue.views import JobPage, JobView


def submit_job(query: NoQuery, header: PreferHeader) -> Response:
    """Submit a job.

    It is stored before the answer comes; its images are made in the background. With `Prefer: wait=N` the answer
    waits up to N seconds for the job to end.
    """
    queue = the_queue()
    job = queue.submit(parse_request(read_json_object()))
    if header.wait_seconds:
        job = queue.wait(job.id, header.wait_seconds)
    response = _job_answer(job, 201 if job.state.terminal else 202)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return _applied(response, header)


def get_job(path: JobPath, query: JobQuery, header: PreferHeader) -> Response:
    """Look at a job, or wait for it.

    With `wait=N`, or `Prefer: wait=N`, the answer comes when the job has ended, or after N seconds with the job as it
    is then.
    """
    queue = the_queue()
    if query.wait is not None:
        return _job_answer(queue.wait(path.job_id, query.wait), 200)
    job = queue.wait(path.job_id, header.wait_seconds or 0)
    return _applied(_job_answer(job, 200), header)


def list_jobs(query: JobListQuery) -> Response:
    """List jobs, newest first."""
    # There is one type so far, so that the filter by type has nothing to leave out.
    return _json(the_queue().list(state=query.state, cursor=query.cursor, limit=query.limit), 200)


def cancel_job(path: JobPath, query: NoQuery) -> Response:
    """Cancel a job.

    A queued job is cancelled at once. A running one's worker is asked to stop; look at the job to see how it ended.
    """
    job = the_queue().cancel(path.job_id)
    return _job_answer(job, 200 if job.state is JobState.CANCELLED else 202)


def job_routes() -> APIBlueprint:
    """The routes under `/v1/jobs`."""
    routes = make_blueprint("jobs", "Submit, look, wait, cancel.", "/v1")
    later = {"Retry-After": "Seconds to pause before the next look; only while the job has not ended."}
    applied = {"Preference-Applied": "`wait=N`, when a preferred wait was honoured."}
    place = {"Location": "Address of the job."}
    add_route(
        routes,
        "post",
        "/jobs",
        submit_job,
        {
            201: json_answer(JobView, "Submitted, and ended within the preferred wait.", place | applied),
            202: json_answer(JobView, "Submitted.", place | applied | later),
        },
        problems=("invalid_request", "malformed_json", "body_too_large", "unsupported_media_type", "store_unavailable"),
        body=GenerateRequest,
    )
    add_route(
        routes,
        "get",
        "/jobs",
        list_jobs,
        {200: json_answer(JobPage, "A page of jobs.")},
        problems=("invalid_request", "store_unavailable"),
    )
    add_route(
        routes,
        "get",
        "/jobs/<job_id>",
        get_job,
        {200: json_answer(JobView, "The job.", applied | later)},
        problems=("invalid_request", "job_not_found", "store_unavailable"),
    )
    add_route(
        routes,
        "post",
        "/jobs/<job_id>/cancel",
        cancel_job,
        {
            200: json_answer(JobView, "Cancelled."),
            202: json_answer(JobView, "The worker was asked to stop.", later),
        },
        problems=("invalid_request", "job_not_found", "job_finished", "store_unavailable"),
    )
    return routes


def _job_answer(job: Job, status: int) -> Response:
    response = _json(the_queue().view(job), status)
    if not job.state.terminal:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _applied(response: Response, header: PreferHeader) -> Response:
    if header.wait_seconds is not None:
        response.headers["Preference-Applied"] = f"wait={header.wait_seconds}"
    return response


def _json(model: BaseModel, status: int) -> Response:
    return Response(model.model_dump_json(), status=status, mimetype="application/json")
