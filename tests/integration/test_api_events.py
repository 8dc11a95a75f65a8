"""Server-sent events over real HTTP: who sees what, who comes back, and that many can."""

from __future__ import annotations

import http.client
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from typing import Any, cast

import pytest
from api_kit import BODY, RunningApi, StandInWorker, assert_documented, data_url, refused, succeed
from redis import Redis
from sse_kit import EventReader, event_stream, told

from imagequeue.client import Client
from imagequeue.requests import StartSessionRequest, parse_as
from imagequeue.service import open_queue
from imagequeue.store.keys import Keys
from imagequeue.submission import Terms

MANY = 50
PATHS = ["/v1/jobs/{job}/events", "/v1/events"]
StartApi = Callable[..., RunningApi]


def start_session(api: RunningApi) -> dict[str, Any]:
    """A session's first turn."""
    answer = api.http.post("/v1/sessions", json={**BODY, "images": [data_url()]})
    return cast("dict[str, Any]", answer.raise_for_status().json())


def test_the_headers_leave_at_once_and_let_nothing_in_between_keep_events_back(api: RunningApi) -> None:
    with event_stream(api.url, f"/v1/jobs/{api.submit()}/events") as stream:
        assert stream.status == 200
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["Cache-Control"] == "no-store"
        assert stream.headers["X-Accel-Buffering"] == "no"
        assert stream.headers["X-Request-Id"]
        assert stream.next_line() == "retry: 1000"


def test_a_job_is_followed_to_its_end(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    with event_stream(api.url, f"/v1/jobs/{job_id}/events") as stream:
        first = stream.until("state")
        succeed(worker, job_id)
        events = [*first, *stream.rest()]
    assert told(events) == [("state", "queued"), ("state", "running"), ("state", "succeeded"), ("end", "succeeded")]
    assert events[-1].data["images"] == [f"/v1/jobs/{job_id}/images/0"]
    document = api.http.get("/openapi.json").json()
    for event in events:
        assert_documented(document, "JobEvent", event.data)
    with event_stream(api.url, f"/v1/jobs/{job_id}/events", stream.last_id) as again:
        assert again.status == 204, "which keeps a browser from coming back for ever"


def test_a_job_that_has_ended_is_told_with_its_end(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    worker.fail(worker.claim(job_id))
    with event_stream(api.url, f"/v1/jobs/{job_id}/events") as stream:
        events = stream.rest()
    assert told(events) == [("state", "failed"), ("end", "failed")]
    assert events[1].data["error"] == "moderation_blocked"


def test_progress_says_place_price_and_what_the_job_waits_for(api: RunningApi) -> None:
    with event_stream(api.url, f"/v1/jobs/{api.submit()}/events") as stream:
        progress = next(event for event in stream.events(progress=True) if event.name == "progress")
    assert progress.data["position"] >= 1
    assert progress.data["estimate"]["expected_usd"] > 0
    assert progress.data["waiting_for"]
    assert progress.id is None
    assert_documented(api.http.get("/openapi.json").json(), "JobProgress", progress.data)


def test_a_quiet_stream_gives_a_sign_of_life(empty_api: RunningApi) -> None:
    with event_stream(empty_api.url, "/v1/events") as stream:
        assert stream.next_line() == "retry: 1000"
        assert [stream.next_line() for _ in range(3)] == ["", ": ping", "id: 0-0"], "an id to come back with, at once"
        assert [stream.next_line() for _ in range(2)] == ["", ": ping"]


def test_a_session_tells_of_its_turns_and_goes_on(api: RunningApi, worker: StandInWorker) -> None:
    first = start_session(api)
    other = start_session(api)
    with event_stream(api.url, f"/v1/sessions/{first['session_id']}/events") as stream:
        stream.until("state", id=first["id"], state="queued")
        succeed(worker, other["id"])
        succeed(worker, first["id"])
        events = stream.until("state", state="succeeded")
        turn = api.http.post(f"/v1/sessions/{first['session_id']}/turns", json=BODY).json()
        events += stream.until("state", state="queued")
    assert [(event.data["id"], event.data["turn"]) for event in events] == [(first["id"], 1)] * 2 + [(turn["id"], 2)]
    assert {event.data["session_id"] for event in events} == {first["session_id"]}


@pytest.mark.parametrize(
    ("path", "code"),
    [("/v1/jobs/job_none/events", "job_not_found"), ("/v1/sessions/ses_none/events", "session_not_found")],
)
def test_what_is_not_there_is_not_found(api: RunningApi, path: str, code: str) -> None:
    refused(api.http.get(path), code)


def test_nobody_is_told_of_another_owners_jobs(empty_api: RunningApi) -> None:
    api = empty_api
    queue = open_queue(api.settings)
    session = parse_as(StartSessionRequest, {**BODY, "images": [data_url()]})
    with event_stream(api.url, "/v1/events") as stream:
        stream.until("state", id=api.submit())
        foreign = queue.sessions.start(session, Terms("somebody-else")).job
        events = stream.until("state", id=api.submit())
        theirs = next(iter(queue.events.of_owner("somebody-else")))
    queue.close()
    assert theirs.data["id"] == foreign.id
    assert foreign.id not in {event.data["id"] for event in events}
    refused(api.http.get(f"/v1/jobs/{foreign.id}/events"), "job_not_found")
    refused(api.http.get(f"/v1/sessions/{foreign.session_id}/events"), "session_not_found")


def test_head_opens_no_stream(api: RunningApi) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.settings.api_port, timeout=30)
    for path, status in ((f"/v1/jobs/{api.submit()}/events", 200), ("/v1/events", 200), ("/healthz", 200)):
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (status, b"")
    connection.close()


def test_unknown_parameters_are_refused(api: RunningApi) -> None:
    refused(api.http.get("/v1/events?sience=now"), "invalid_request")


@pytest.mark.parametrize(
    ("last", "reason"), [("tomorrow", "unknown_last_event_id"), ("9999999999999-0", "events_missing")]
)
def test_an_id_that_cannot_be_gone_on_from_is_a_reset(api: RunningApi, last: str, reason: str) -> None:
    job_id = api.submit()
    with event_stream(api.url, f"/v1/jobs/{job_id}/events", last) as stream:
        events = stream.until("state")
    assert [(event.name, event.data.get("reason")) for event in events] == [("reset", reason), ("state", None)]


def test_a_trimmed_stream_is_a_reset_and_the_states_of_now(empty_api: RunningApi) -> None:
    api, worker = empty_api, StandInWorker(empty_api.settings)
    job_id = api.submit()
    with event_stream(api.url, "/v1/events") as stream:
        stream.until("state", id=job_id)
    worker.claim(job_id)
    api.submit()
    with Redis.from_url(api.settings.redis_url) as redis:  # pyright: ignore[reportUnknownMemberType]
        cast("Any", redis).xtrim(Keys(api.settings.key_prefix).changes, maxlen=1, approximate=False)
    with event_stream(api.url, "/v1/events", stream.last_id) as again:
        events = again.until("state", id=job_id)
    assert events[0].name == "reset"
    assert events[-1].data["state"] == "running"


def test_who_comes_back_after_a_crash_of_the_api_has_lost_nothing_and_gets_nothing_twice(
    start_own_api: StartApi,
) -> None:
    variables = {"IMAGEQUEUE_KEY_PREFIX": "crashed:", "IMAGEQUEUE_API_PROCESSES": "1"}
    first = start_own_api(**variables)
    worker = StandInWorker(first.settings)
    ended_before, ended_meanwhile, ended_after = job_ids = [first.submit() for _ in range(3)]
    paths = ["/v1/events", *(f"/v1/jobs/{job_id}/events" for job_id in (ended_meanwhile, ended_after))]
    with ExitStack() as stack:
        streams = [stack.enter_context(event_stream(first.url, path)) for path in paths]
        seen = [stream.until("state", id=job_id) for stream, job_id in zip(streams, job_ids, strict=True)]
        claims = [worker.claim(job_id) for job_id in job_ids]
        worker.succeed(claims[0])
        seen[0] += streams[0].until("state", id=ended_before, state="succeeded")
        seen[1] += streams[1].until("state", state="running")
        os.killpg(first.process.pid, signal.SIGKILL)
        first.process.wait(10)
    worker.succeed(claims[1])
    second = start_own_api(**variables)
    with ExitStack() as stack:
        again = [
            stack.enter_context(event_stream(second.url, path, before.last_id))
            for path, before in zip(paths, streams, strict=True)
        ]
        seen[1] += again[1].rest()
        worker.succeed(claims[2])
        seen[2] += again[2].rest()
        seen[0] += again[0].until("state", id=ended_after, state="succeeded")
    whole = [("state", "queued"), ("state", "running"), ("state", "succeeded"), ("end", "succeeded")]
    assert [told(events) for events in seen[1:]] == [whole, whole]
    for job_id in job_ids:
        assert told([event for event in seen[0] if event.data["id"] == job_id]) == whole[:-1]


def test_many_streams_at_once_are_all_told_everything(api: RunningApi, worker: StandInWorker) -> None:
    job_ids = [api.submit() for _ in range(5)]
    redis = cast("Any", Redis.from_url(api.settings.redis_url))  # pyright: ignore[reportUnknownMemberType]
    before = len(redis.client_list())
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(MANY))
        streams = [
            stack.enter_context(event_stream(api.url, f"/v1/jobs/{job_ids[index % 5]}/events")) for index in range(MANY)
        ]
        first = list(pool.map(EventReader.until, streams, repeat("state")))
        for job_id in job_ids:
            succeed(worker, job_id)
        events = list(pool.map(EventReader.rest, streams))
        after = len(redis.client_list())
    redis.close()
    expected = [("state", "queued"), ("state", "running"), ("state", "succeeded"), ("end", "succeeded")]
    assert [told([*begun, *rest]) for begun, rest in zip(first, events, strict=True)] == [expected] * MANY
    assert after - before < MANY, "connections are shared"


def test_a_stop_signal_ends_the_streams_in_order_and_at_once(start_own_api: StartApi) -> None:
    api = start_own_api()
    paths = [path.format(job=api.submit()) for path in PATHS]
    with ExitStack() as stack:
        streams = [stack.enter_context(event_stream(api.url, path)) for path in paths * 5]
        for stream in streams:
            stream.until("state")
        api.process.terminate()
        assert {event.name for stream in streams for event in stream.rest()} <= {"state"}


def test_a_client_that_left_holds_no_thread(start_own_api: StartApi) -> None:
    api = start_own_api(IMAGEQUEUE_API_PROCESSES="1", IMAGEQUEUE_API_THREADS="2")
    job_id = api.submit()
    api.http.close()
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(event_stream(api.url, f"/v1/jobs/{job_id}/events")).until("state")
    connection = http.client.HTTPConnection("127.0.0.1", api.settings.api_port, timeout=30)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


def test_the_client_follows_a_job_over_a_restart_of_the_api(start_own_api: StartApi) -> None:
    variables = {"IMAGEQUEUE_KEY_PREFIX": "followed:", "IMAGEQUEUE_API_PROCESSES": "1"}
    first = start_own_api(**variables)
    worker = StandInWorker(first.settings)
    job_id = first.submit()
    with Client(first.url) as client:
        events = (event for event in client.events(job_id) if event.name != "progress")
        states = [next(events).data["state"]]
        claim = worker.claim(job_id)
        states.append(next(events).data["state"])
        first.stop()
        worker.succeed(claim)
        start_own_api(**variables, IMAGEQUEUE_API_PORT=str(first.settings.api_port))
        states += [event.data["state"] for event in events]
    assert states == ["queued", "running", "succeeded", "succeeded"]
