"""Jobs."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.answers import (
    APPLIED,
    KEY_LIMIT_PROBLEMS,
    LATER,
    SUBMIT_PROBLEMS,
    TAGGED,
    job_answer,
    submit_terms,
    submitted_answer,
    submitted_answers,
    unchanged,
    view_answer,
    with_applied,
)
from api.context import the_owner, the_queue
from api.document import add_route, json_answer, make_blueprint, other_answer
from api.etags import conditional
from api.input_problems import SOURCE_PROBLEM_CODES
from api.parameters import JobListQuery, JobPath, JobQuery, NoQuery, PreferHeader, SubmitHeader
from api.request_body import read_json_object
from imagequeue.jobs import JobState
from imagequeue.requests import EditRequest, GenerateRequest, parse_request
from imagequeue.views import JobPage, JobView


def submit_job(query: NoQuery, header: SubmitHeader) -> Response:
    """Submit a job.

    It is stored before the answer comes; its images are made in the background. With `Prefer: wait=N` the answer
    waits up to N seconds for the job to end.
    """
    body = read_json_object(with_images=True)
    request = parse_request(body)
    return submitted_answer(the_queue().submit(request, submit_terms(body, header)), header)


def get_job(path: JobPath, query: JobQuery, header: PreferHeader) -> Response:
    """Look at a job, or wait for it.

    With `wait=N`, or `Prefer: wait=N`, the answer comes when the job has ended, or after N seconds with the job as it
    is then.
    """
    queue = the_queue()
    if query.wait is not None:
        return conditional(job_answer(queue.wait(path.job_id, query.wait, owner=the_owner()), 200))
    job = queue.wait(path.job_id, header.wait_seconds or 0, owner=the_owner())
    return with_applied(conditional(job_answer(job, 200)), header)


def list_jobs(query: JobListQuery) -> Response:
    """List jobs, newest first, or look at jobs by their ids.

    With `ids` they come in the order asked for, and with `wait=N` when all of them have ended, with `any=true` when one
    has, or after N seconds with the jobs as they are then.
    """
    queue, owner = the_queue(), the_owner()
    if query.ids is not None:
        page = queue.wait_for(query.ids, query.wait or 0, any_of=query.any, owner=owner)
        return conditional(view_answer(page, 200))
    page = queue.list(
        state=query.state,
        job_type=query.type,
        session_id=query.session,
        batch_id=query.batch,
        cursor=query.cursor,
        limit=query.limit,
        owner=owner,
    )
    return conditional(view_answer(page, 200))


def cancel_job(path: JobPath, query: NoQuery) -> Response:
    """Cancel a job.

    A queued job is cancelled at once. A running one's worker is asked to stop; look at the job to see how it ended.
    """
    job = the_queue().cancel(path.job_id, owner=the_owner())
    return job_answer(job, 200 if job.state is JobState.CANCELLED else 202)


def retry_job(path: JobPath, query: NoQuery, header: SubmitHeader) -> Response:
    """Try a job again.

    The request of a job that failed or was cancelled is submitted once more, as a new job; the old one stays as it is.
    With `Prefer: wait=N` the answer waits up to N seconds for the new job to end.
    """
    return submitted_answer(the_queue().retry(path.job_id, submit_terms({}, header)), header)


def hand_over(path: JobPath, query: NoQuery) -> Response:
    """Note that a job's result was handed over.

    For clients that submit with `Prefer: reattach`: an equal request from now on makes a new job. Repeating it changes
    nothing.
    """
    the_queue().handed_over(path.job_id, owner=the_owner())
    return Response(status=204)


def delete_job(path: JobPath, query: NoQuery) -> Response:
    """Delete a job that has ended.

    Its images, previews and records are gone at once; what it cost stays in the usage figures. The current image of an
    active session cannot be deleted.
    """
    the_queue().delete(path.job_id, owner=the_owner())
    return Response(status=204)


def job_routes() -> APIBlueprint:
    """The routes under `/v1/jobs`."""
    routes = make_blueprint("jobs", "Submit, look, wait, cancel.", "/v1")
    add_route(
        routes,
        "post",
        "/jobs",
        submit_job,
        submitted_answers(),
        problems=(
            *SUBMIT_PROBLEMS,
            *SOURCE_PROBLEM_CODES,
            *("store_unavailable", "objects_unavailable"),
        ),
        body={"generate": GenerateRequest, "edit": EditRequest},
        announced="job-event",
    )
    add_route(
        routes,
        "get",
        "/jobs",
        list_jobs,
        {200: json_answer(JobPage, "A page of jobs.", TAGGED), **unchanged()},
        problems=(
            "invalid_request",
            "session_not_found",
            "batch_not_found",
            "store_unavailable",
            "objects_unavailable",
        ),
    )
    add_route(
        routes,
        "get",
        "/jobs/<job_id>",
        get_job,
        {200: json_answer(JobView, "The job.", APPLIED | LATER | TAGGED), **unchanged()},
        problems=("invalid_request", "job_not_found", "store_unavailable", "objects_unavailable"),
    )
    _add_actions(routes)
    return routes


def _add_actions(routes: APIBlueprint) -> None:
    add_route(
        routes,
        "post",
        "/jobs/<job_id>/cancel",
        cancel_job,
        {
            200: json_answer(JobView, "Cancelled."),
            202: json_answer(JobView, "The worker was asked to stop.", LATER),
        },
        problems=("invalid_request", "job_not_found", "job_finished", "store_unavailable", "objects_unavailable"),
    )
    add_route(
        routes,
        "post",
        "/jobs/<job_id>/retry",
        retry_job,
        submitted_answers(),
        problems=(
            *("invalid_request", "idempotency_key_reused", *KEY_LIMIT_PROBLEMS, *SOURCE_PROBLEM_CODES),
            *("job_not_found", "job_running", "job_succeeded", "job_in_session"),
            *("store_unavailable", "objects_unavailable"),
        ),
    )
    add_route(
        routes,
        "post",
        "/jobs/<job_id>/handed-over",
        hand_over,
        {204: other_answer("Noted.", {})},
        problems=("invalid_request", "job_not_found", "store_unavailable", "objects_unavailable"),
    )
    add_route(
        routes,
        "delete",
        "/jobs/<job_id>",
        delete_job,
        {204: other_answer("Deleted.")},
        problems=(
            *("invalid_request", "job_not_found", "job_running", "image_in_use"),
            *("store_unavailable", "objects_unavailable"),
        ),
    )
