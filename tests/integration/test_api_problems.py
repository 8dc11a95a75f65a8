"""One shape for every error of every endpoint, and an id on every answer."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from api_kit import BODY, RUN_API, RunningApi, StandInWorker, assert_documented, inherited

from api.problems import PROBLEM_TYPES
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.redis_server import start_redis

SOME_ID = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
FILLED = {
    "{job_id}": SOME_ID,
    "{batch_id}": "batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z",
    "{session_id}": "ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z",
    "{index}": "0",
    "{partial_index}": "0",
    "{model}": "gpt-image-2",
    "{key_id}": "key_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z",
    "{endpoint_id}": "whe_0a1b2c3d4e5f60718293a4b5",
    "{delivery_id}": "dlv_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z_0a1b2c3d",
    "{name}": "spring.jsonl",
    "{code}": "invalid_request",
}
ENDPOINTS = [
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/{job_id}"),
    ("DELETE", "/v1/jobs/{job_id}"),
    ("POST", "/v1/jobs/{job_id}/cancel"),
    ("POST", "/v1/jobs/{job_id}/retry"),
    ("POST", "/v1/jobs/{job_id}/handed-over"),
    ("GET", "/v1/jobs/{job_id}/images/{index}"),
    ("GET", "/v1/jobs/{job_id}/events"),
    ("GET", "/v1/events"),
    ("GET", "/v1/sessions/{session_id}/events"),
    ("GET", "/v1/jobs/{job_id}/partials/{partial_index}"),
    ("POST", "/v1/sessions"),
    ("GET", "/v1/sessions"),
    ("GET", "/v1/sessions/{session_id}"),
    ("DELETE", "/v1/sessions/{session_id}"),
    ("POST", "/v1/sessions/{session_id}/turns"),
    ("POST", "/v1/sessions/{session_id}/fork"),
    ("POST", "/v1/sessions/{session_id}/end"),
    ("POST", "/v1/batches"),
    ("GET", "/v1/batches"),
    ("GET", "/v1/batches/{batch_id}"),
    ("PATCH", "/v1/batches/{batch_id}"),
    ("DELETE", "/v1/batches/{batch_id}"),
    *(("POST", f"/v1/batches/{{batch_id}}/{action}") for action in ("pause", "resume", "cancel", "retry-failed")),
    ("GET", "/v1/batches/{batch_id}/results"),
    *(("GET", f"/v1/batches/{{batch_id}}/{what}") for what in ("images.zip", "report", "report.html")),
    ("GET", "/v1/batches/{batch_id}/events"),
    ("POST", "/v1/uploads"),
    ("GET", "/v1/usage"),
    ("POST", "/v1/keys"),
    ("GET", "/v1/keys"),
    ("GET", "/v1/keys/current"),
    ("GET", "/v1/keys/{key_id}"),
    ("POST", "/v1/keys/{key_id}/limits"),
    ("POST", "/v1/keys/{key_id}/rotate"),
    ("POST", "/v1/keys/{key_id}/revoke"),
    ("POST", "/v1/webhooks/endpoints"),
    ("GET", "/v1/webhooks/endpoints"),
    ("DELETE", "/v1/webhooks/endpoints/{endpoint_id}"),
    ("GET", "/v1/webhooks/secret"),
    ("POST", "/v1/webhooks/secret/rotate"),
    ("GET", "/v1/webhooks/deliveries"),
    ("POST", "/v1/webhooks/deliveries/{delivery_id}/redeliver"),
    ("POST", "/v1/estimates"),
    ("PUT", "/v1/manifests/{name}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/problems/{code}"),
]
OPENAI_ENDPOINTS = [
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/images/edits"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
]
"""Those in OpenAI's wire format, whose errors are OpenAI's too."""
REQUEST_ID = "X-Request-Id"


def filled(path: str) -> str:
    """A path whose parameters have values."""
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return path


def assert_problem(http: httpx2.Client, answer: httpx2.Response, status: int, code: str) -> None:
    """Assert that the answer is a problem as documented, and that its type has a page."""
    problem = answer.json()
    assert_documented(http.get("/openapi.json").json(), "Problem", problem)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers[REQUEST_ID]
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"/problems/{code}"
    assert problem["instance"] == answer.request.url.path
    assert ("errors" in problem) == (code == "invalid_request")
    page = http.get(problem["type"])
    assert page.status_code == 200
    assert problem["title"] in page.text


def test_the_table_names_every_endpoint(http: httpx2.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    documented = {(method.upper(), path) for path, item in paths.items() for method in item}
    assert documented == {*ENDPOINTS, *OPENAI_ENDPOINTS}


@pytest.mark.parametrize(("method", "path"), OPENAI_ENDPOINTS, ids=" ".join)
def test_every_endpoint_in_openais_wire_format_answers_errors_in_openais_shape(
    http: httpx2.Client, method: str, path: str
) -> None:
    document = http.get("/openapi.json").json()
    nowhere = http.request(method, f"{filled(path)}/nothing/here")
    unknown = http.request(method, filled(path), params={"nonsense": "1"})
    other_method = http.request("PATCH", filled(path))
    for answer in (nowhere, unknown, other_method):
        assert_documented(document, "ErrorResponse", answer.json())
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers[REQUEST_ID]
    told = [(answer.status_code, answer.json()["error"]["code"]) for answer in (nowhere, unknown, other_method)]
    assert told == [(404, "unknown_url"), (400, "invalid_value"), (405, "method_not_supported")]
    assert unknown.json()["error"]["param"] == "nonsense"


def test_bad_bodies_in_openais_wire_format_are_told_in_openais_shape(api: RunningApi) -> None:
    def told(content: bytes, kind: str = "application/json") -> tuple[int, str, str]:
        answer = api.http.post("/v1/images/edits", content=content, headers={"Content-Type": kind})
        error = answer.json()["error"]
        return answer.status_code, error["type"], error["code"]

    invalid = "invalid_request_error"
    assert told(b"{") == (400, invalid, "malformed_json")
    assert told(b"[]") == (400, invalid, "invalid_value")
    assert told(b"{}") == (400, invalid, "missing_required_parameter")
    assert told(b"a=b", "application/x-www-form-urlencoded") == (415, invalid, "unsupported_media_type")
    assert told(b"--x", "multipart/form-data; boundary=x") == (400, invalid, "bad_request")
    too_long = b" " * (api.settings.max_edit_body_bytes + 1)
    assert told(too_long) == (413, invalid, "body_too_large")


@pytest.mark.parametrize(("method", "path"), ENDPOINTS, ids=" ".join)
def test_every_endpoint_answers_errors_in_one_shape(http: httpx2.Client, method: str, path: str) -> None:
    unknown = http.request(method, filled(path), params={"nonsense": "1"})
    assert_problem(http, unknown, 400, "invalid_request")
    assert unknown.json()["errors"][0]["field"] == "nonsense"
    repeated = http.request(method, f"{filled(path)}?wait=1&wait=2")
    assert_problem(http, repeated, 400, "invalid_request")
    wrong = "PUT" if ("PATCH", path) in ENDPOINTS else "PATCH"
    assert_problem(http, http.request(wrong, filled(path)), 405, "method_not_allowed")
    assert_problem(http, http.request(method, f"{filled(path)}/nothing/here"), 404, "not_found")


def test_errors_of_the_domain_have_the_same_shape(api: RunningApi, worker: StandInWorker) -> None:
    http = api.http
    ended = api.submit()
    worker.fail(worker.claim(ended))
    assert_problem(http, http.get(f"/v1/jobs/{SOME_ID}"), 404, "job_not_found")
    assert_problem(http, http.get(f"/v1/jobs/{ended}/images/0"), 404, "image_not_found")
    assert_problem(http, http.post(f"/v1/jobs/{ended}/cancel"), 409, "job_finished")
    assert_problem(http, http.post("/v1/jobs", content=b"{"), 415, "unsupported_media_type")
    json_type = {"Content-Type": "application/json"}
    assert_problem(http, http.post("/v1/jobs", content=b"{", headers=json_type), 400, "malformed_json")
    too_long = b" " * (api.settings.max_body_bytes + 1)
    assert_problem(http, http.post("/v1/jobs", content=too_long, headers=json_type), 413, "body_too_large")


def test_every_error_code_has_a_page_that_says_what_to_do(http: httpx2.Client) -> None:
    for code, kind in PROBLEM_TYPES.items():
        page = http.get(f"/problems/{code}")
        assert page.headers["Content-Type"].startswith("text/html")
        assert code in page.text
        assert kind.meaning.split()[0] in page.text


def test_a_defect_shows_an_id_and_nothing_else(api: RunningApi) -> None:
    job_id = api.submit()
    secret_value = "unreadable-innards"
    client = cast("Any", connect(api.settings.redis_url))
    client.hset(Keys(api.settings.key_prefix).job(job_id), "created_at", secret_value)
    answer = api.http.get(f"/v1/jobs/{job_id}")
    client.delete(Keys(api.settings.key_prefix).job(job_id))
    client.close()
    assert_problem(api.http, answer, 500, "internal_error")
    assert secret_value not in answer.text
    assert "Traceback" not in answer.text
    request_id = answer.headers[REQUEST_ID]
    assert request_id in answer.json()["detail"]
    [line] = [line for line in api.log.read_text().splitlines() if "unexpected_error" in line and request_id in line]
    assert job_id in line


def test_redis_away_is_503_and_its_return_needs_no_restart(start_own_api: Any, tmp_path: Path) -> None:
    folder = tmp_path / "own-redis"
    redis = start_redis(folder)
    try:
        api = cast("RunningApi", start_own_api(IMAGEQUEUE_REDIS_URL=redis.url, IMAGEQUEUE_API_PROCESSES="1"))
        job_id = api.submit()
        redis.stop()
        for answer in (api.http.get(f"/v1/jobs/{job_id}"), api.http.post("/v1/jobs", json=BODY)):
            assert_problem(api.http, answer, 503, "store_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
        assert api.http.get("/healthz").json() == {"status": "ok"}
        assert api.http.get("/readyz").json()["parts"]["redis"]["ok"] is False
        redis = start_redis(folder)
        assert api.http.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"
    finally:
        redis.stop()


def test_a_sane_request_id_is_echoed(http: httpx2.Client) -> None:
    for path in ("/healthz", "/v1/jobs", "/v1/nothing", "/docs"):
        assert http.get(path, headers={REQUEST_ID: "trace-42:a/b"}).headers[REQUEST_ID] == "trace-42:a/b"


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, "a;b", "<script>", 'quo"te', "{0}"])
def test_a_strange_request_id_is_replaced(http: httpx2.Client, given: str) -> None:
    answered = http.get("/healthz", headers={REQUEST_ID: given}).headers[REQUEST_ID]
    assert re.fullmatch(r"req_[0-9a-f]{24}", answered)


def test_each_request_has_an_id_of_its_own(http: httpx2.Client) -> None:
    ids = {http.get("/healthz").headers[REQUEST_ID] for _ in range(20)}
    assert len(ids) == 20


def test_requests_are_logged_at_debug_with_their_id(narrow_api: RunningApi) -> None:
    api = narrow_api
    assert (api.settings.log_level, api.settings.log_format) == ("debug", "json")
    api.http.get("/v1/jobs", headers={REQUEST_ID: "seen-in-the-log"})
    [line] = [line for line in api.log.read_text().splitlines() if "seen-in-the-log" in line]
    assert all(part in line for part in ('"event": "request"', '"status": 200', '"path": "/v1/jobs"'))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGEQUEUE_API_THREADS", "many"),
        ("IMAGEQUEUE_API_PORT", "99999"),
        ("IMAGEQUEUE_REDIS_URL", "http://127.0.0.1/0"),
        ("IMAGEQUEUE_S3_ENDPOINT", "no-url"),
    ],
)
def test_a_bad_setting_stops_the_start_and_prints_no_secret(
    service_environment: Mapping[str, str], name: str, value: str
) -> None:
    bad = {**service_environment, "OPENAI_API_KEY": "sk-very-secret-key", name: value}
    ended = subprocess.run(RUN_API, env={**inherited(), **bad}, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    last_line = ended.stderr.strip().splitlines()[-1]
    assert "Misconfigured" in last_line
    assert name in last_line
    assert "sk-very-secret-key" not in ended.stderr + ended.stdout


def test_without_redis_the_start_ends_with_the_reason(service_environment: Mapping[str, str]) -> None:
    away = {**service_environment, "IMAGEQUEUE_REDIS_URL": f"redis://{HOST}:{choose_port()}/0"}
    ended = subprocess.run(
        RUN_API, env={**inherited(), **away}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert "StoreUnavailable" in ended.stderr.strip().splitlines()[-1]
