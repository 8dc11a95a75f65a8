"""The HTTP client against a real server that answers as each test says."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from pathlib import Path

import pytest
from client_kit import JOB_ID, PAINTING, Answer, ScriptedServer, job, refused, told
from portal_kit import Connect

from imagequeue.client import ApiProblem, ApiUnreachable, Client, DamagedDownload
from imagequeue.errors import Misconfigured, Violation
from imagequeue.jobs import JobState
from imagequeue.requests import GenerateRequest
from imagequeue.views import JobPage, JobView

QUEUED, RUNNING, DONE = job(JobState.QUEUED), job(JobState.RUNNING), job(JobState.SUCCEEDED)
UNAVAILABLE = refused(503, "store_unavailable")
NO_ANSWER = Answer(200, cut_after=-1)


def test_submitting_sends_what_was_set_and_returns_the_job(server: ScriptedServer, client: Client) -> None:
    server.will_answer(told(QUEUED, 202))
    assert client.submit(GenerateRequest(prompt="a fox", n=2)) == QUEUED
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/jobs")
    assert json.loads(asked.body) == {"type": "generate", "prompt": "a fox", "n": 2}
    assert asked.headers["Authorization"] == "Bearer iq_secret"
    assert asked.headers["Content-Type"] == "application/json"


def test_a_mapping_is_submitted_as_it_is_even_when_it_is_not_valid_unicode(
    server: ScriptedServer, client: Client
) -> None:
    server.will_answer(told(QUEUED, 202))
    client.submit({"type": "generate", "prompt": "lone \udcff surrogate"})
    assert json.loads(server.asked[0].body)["prompt"] == "lone \udcff surrogate"


def test_broken_rules_come_back_as_violations(server: ScriptedServer, client: Client) -> None:
    broken = {"field": "size", "rule": "too large", "given": "9999x9999", "example": "1024x1024"}
    server.will_answer(refused(400, "invalid_request", [broken]))
    with pytest.raises(ApiProblem) as caught:
        client.submit({"prompt": "x", "size": "9999x9999"})
    assert (caught.value.status, caught.value.code, caught.value.retryable) == (400, "invalid_request", False)
    assert caught.value.violations == (Violation(**broken),)
    assert ApiProblem.code == "internal_error", "one error's code must not become another's"


def test_a_submit_whose_answer_was_lost_is_sent_again_with_the_same_key(server: ScriptedServer, client: Client) -> None:
    server.will_answer(NO_ANSWER, UNAVAILABLE, told(QUEUED, 202))
    assert client.submit({"prompt": "x"}) == QUEUED
    assert len(server.asked) == 3
    assert len({(asked.headers["Idempotency-Key"], asked.body) for asked in server.asked}) == 1
    client.submit({"prompt": "x"})
    assert server.asked[3].headers["Idempotency-Key"] != server.asked[0].headers["Idempotency-Key"]


def test_a_key_of_ones_own_makes_a_submit_repeatable_by_a_later_call(server: ScriptedServer, client: Client) -> None:
    server.will_answer(told(QUEUED, 202))
    client.submit({"prompt": "x"}, idempotency_key="order-7")
    client.start_session({"prompt": "x"}, idempotency_key="order-8")
    client.add_turn("ses_1", {"prompt": "x"}, idempotency_key="order-9")
    assert [asked.headers["Idempotency-Key"] for asked in server.asked] == ["order-7", "order-8", "order-9"]


@pytest.mark.parametrize("code", ["too_many_jobs_in_flight", "too_many_jobs_per_minute"])
def test_a_limit_of_the_key_is_told_at_once(server: ScriptedServer, client: Client, code: str) -> None:
    server.will_answer(refused(429, code))
    with pytest.raises(ApiProblem) as caught:
        client.submit({"prompt": "x"})
    assert (caught.value.code, caught.value.retryable, len(server.asked)) == (code, True, 1)


def test_a_submit_that_may_have_been_received_is_told_of_when_patience_ends(connect: Connect) -> None:
    with ScriptedServer().serving() as server, connect(server.url, patience_seconds=0.5) as client:
        server.will_answer(NO_ANSWER)
        with pytest.raises(ApiUnreachable) as caught:
            client.submit({"prompt": "x"})
    assert caught.value.maybe_received
    assert len(server.asked) == 2


def test_where_nothing_listens_the_error_says_what_to_do(connect: Connect) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can, and connections are refused
        with (
            connect(f"http://127.0.0.1:{taken.getsockname()[1]}") as client,
            pytest.raises(ApiUnreachable, match=r"`imagequeue up`.*IMAGEQUEUE_API_URL") as caught,
        ):
            client.submit({"prompt": "x"})
    assert not caught.value.maybe_received


def test_waiting_outlives_503s_and_lost_connections_and_tells_each_state(
    server: ScriptedServer, client: Client
) -> None:
    server.will_answer(UNAVAILABLE, told(QUEUED), NO_ANSWER, Answer(502, b"<html>"), told(RUNNING), told(DONE))
    seen: list[JobState] = []
    assert client.wait(JOB_ID, on_update=lambda update: seen.append(update.state)) == DONE
    assert seen == [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]
    assert {asked.path for asked in server.asked} == {f"/v1/jobs/{JOB_ID}?wait=1"}


def test_waiting_without_an_audience_asks_for_the_longest_wait(server: ScriptedServer, client: Client) -> None:
    server.will_answer(told(DONE))
    client.wait(JOB_ID)
    assert server.asked[0].path == f"/v1/jobs/{JOB_ID}?wait=90"


def test_waiting_gives_up_when_the_api_is_away_for_longer_than_its_patience(
    server: ScriptedServer, connect: Connect
) -> None:
    server.will_answer(UNAVAILABLE)
    with connect(server.url, patience_seconds=0.5) as client, pytest.raises(ApiProblem) as caught:
        client.wait(JOB_ID)
    assert caught.value.code == "store_unavailable"
    assert len(server.asked) == 2, "once, and once again within half a second"


def test_a_job_that_has_not_ended_in_time_is_returned_as_it_is(server: ScriptedServer, client: Client) -> None:
    server.will_answer(told(RUNNING))
    assert client.wait(JOB_ID, timeout_seconds=0.3) == RUNNING


def page_of(*jobs: JobView, missing: tuple[str, ...] | None = None) -> Answer:
    """A page of jobs."""
    return Answer(200, JobPage(jobs=jobs, next_cursor=None, missing=missing).model_dump_json().encode())


def test_many_jobs_are_waited_for_together_until_all_or_one_have_ended(server: ScriptedServer, client: Client) -> None:
    server.will_answer(page_of(RUNNING, DONE), NO_ANSWER, page_of(DONE, DONE, missing=("job_none",)))
    page = client.wait_for([JOB_ID, "job_2", "job_none"])
    assert (page.jobs, page.missing) == ((DONE, DONE), ("job_none",))
    asked = f"/v1/jobs?ids={JOB_ID}%2Cjob_2%2Cjob_none&wait=90"
    assert [one.path for one in server.asked] == [asked] * 3
    server.will_answer(page_of(RUNNING, DONE))
    assert client.wait_for([JOB_ID, "job_2"], any_of=True).jobs == (RUNNING, DONE)
    assert server.asked[-1].path.endswith("&wait=90&any=true")
    assert client.wait_for([JOB_ID, "job_2"], timeout_seconds=0).jobs == (RUNNING, DONE)


def test_a_refusal_while_waiting_is_final(server: ScriptedServer, client: Client) -> None:
    server.will_answer(refused(404, "job_not_found"))
    with pytest.raises(ApiProblem, match="job_not_found"):
        client.wait(JOB_ID)
    assert len(server.asked) == 1


def test_fields_of_a_newer_api_do_no_harm(server: ScriptedServer, client: Client) -> None:
    server.will_answer(told(QUEUED, mood="sunny"))
    assert client.get(JOB_ID) == QUEUED


@pytest.mark.parametrize(
    "answer", [Answer(200, b"<html>hello</html>"), Answer(404, b"nothing here"), Answer(200, b"{}"), Answer(301)]
)
def test_another_program_at_the_address_is_recognised(server: ScriptedServer, client: Client, answer: Answer) -> None:
    server.will_answer(answer)
    with pytest.raises(ApiProblem, match="another program") as caught:
        client.get(JOB_ID)
    assert caught.value.code == "not_imagequeue"


@pytest.mark.parametrize("job_id", ["../batches", "..", "a/b?wait=9#x", "job id", ""])
def test_no_job_id_leads_to_another_resource(server: ScriptedServer, client: Client, job_id: str) -> None:
    server.will_answer(refused(404, "job_not_found"))
    with pytest.raises(ApiProblem):
        client.get(job_id)
    path = server.asked[0].path
    assert path.startswith("/v1/jobs/")
    assert not set("/?#. ") & set(path.removeprefix("/v1/jobs/"))


def test_lists_and_cancels(server: ScriptedServer, client: Client) -> None:
    page = JobPage(jobs=(DONE, QUEUED), next_cursor="c2")
    server.will_answer(Answer(200, page.model_dump_json().encode()), told(job(JobState.CANCELLED)))
    assert client.list(JobState.FAILED, cursor="c1", limit=7) == page
    assert client.cancel(JOB_ID).state is JobState.CANCELLED
    assert server.asked[0].path == "/v1/jobs?state=failed&cursor=c1&limit=7"
    assert (server.asked[1].method, server.asked[1].path) == ("POST", f"/v1/jobs/{JOB_ID}/cancel")


def test_a_job_is_tried_again_by_one_request_and_the_new_one_is_given(server: ScriptedServer, client: Client) -> None:
    server.will_answer(told(QUEUED))
    assert client.retry(JOB_ID) == QUEUED
    assert [(asked.method, asked.path) for asked in server.asked] == [("POST", f"/v1/jobs/{JOB_ID}/retry")]


@pytest.mark.parametrize(("status", "code"), [("ready", 200), ("paused", 200), ("unready", 503)])
def test_an_installation_in_any_state_is_an_answer_and_no_error(
    server: ScriptedServer, client: Client, status: str, code: int
) -> None:
    parts = {"redis": {"ok": False, "detail": "away"}}
    server.will_answer(Answer(code, json.dumps({"status": status, "parts": parts}).encode()))
    readiness = client.readiness()
    assert (readiness.status, readiness.parts["redis"].detail) == (status, "away")


@pytest.mark.parametrize("address", ["", "127.0.0.1:8080", "ftp://host", "http://", "http://x:port"])
def test_an_address_that_is_no_http_url_is_refused_at_once(address: str, connect: Connect) -> None:
    with pytest.raises(Misconfigured, match="address"), connect(address):
        pass


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    server: ScriptedServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.will_answer(told(QUEUED))
    with connect(server.url) as client:
        assert client.get(JOB_ID) == QUEUED


@pytest.mark.parametrize("answer", [NO_ANSWER, Answer(200, b"<html>")])
def test_a_password_in_the_address_is_sent_and_never_shown(
    server: ScriptedServer, connect: Connect, answer: Answer
) -> None:
    server.will_answer(answer)
    address = server.url.replace("http://", "http://me:pass-word@")
    with connect(address) as client, pytest.raises((ApiUnreachable, ApiProblem)) as caught:
        client.get(JOB_ID)
    assert server.asked[0].headers["Authorization"].startswith("Basic ")
    assert "pass-word" not in str(caught.value)
    assert server.url in str(caught.value)


def test_a_path_in_the_address_is_kept(server: ScriptedServer, connect: Connect) -> None:
    server.will_answer(told(QUEUED))
    with connect(f"{server.url}/images/") as client:
        client.get(JOB_ID)
    assert server.asked[0].path == f"/images/v1/jobs/{JOB_ID}"


@pytest.fixture
def storage(server: ScriptedServer) -> Generator[ScriptedServer]:
    """What the API's redirects lead to."""
    with ScriptedServer().serving() as serving:
        server.will_answer(Answer(302, headers={"Location": f"{serving.url}/signed"}))
        yield serving


def test_a_download_is_whole_and_the_key_stays_with_the_api(
    storage: ScriptedServer, server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    storage.will_answer(Answer(200, PAINTING))
    (saved,) = client.download(DONE, tmp_path / "made" / "here")
    assert saved == tmp_path / "made" / "here" / "hero-1.png"
    assert saved.read_bytes() == PAINTING
    assert server.asked[0].headers["Authorization"] == "Bearer iq_secret"
    assert "Authorization" not in storage.asked[0].headers


def test_another_file_of_the_same_name_is_kept(storage: ScriptedServer, client: Client, tmp_path: Path) -> None:
    storage.will_answer(Answer(200, PAINTING))
    (tmp_path / "hero-1.png").write_bytes(b"mine")
    (tmp_path / "hero-1-1.png").symlink_to(tmp_path / "nowhere")
    (saved,) = client.download(DONE, tmp_path)
    assert saved.name == "hero-1-2.png"
    assert (tmp_path / "hero-1.png").read_bytes() == b"mine"
    assert (tmp_path / "hero-1-1.png").is_symlink()


def test_an_image_that_is_there_already_is_not_fetched_again(
    storage: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    storage.will_answer(Answer(200, PAINTING))
    (tmp_path / "hero-1.png").write_bytes(b"x" * len(PAINTING))
    first = client.download(DONE, tmp_path)
    assert client.download(DONE, tmp_path) == first == [tmp_path / "hero-1-1.png"]
    assert len(storage.asked) == 1


def test_damaged_bytes_are_refused_and_leave_nothing(storage: ScriptedServer, client: Client, tmp_path: Path) -> None:
    storage.will_answer(Answer(200, PAINTING[:-1] + b"?"))
    with pytest.raises(DamagedDownload, match=r"hero-1\.png"):
        client.download(DONE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_is_begun_again(storage: ScriptedServer, client: Client, tmp_path: Path) -> None:
    storage.will_answer(Answer(200, PAINTING, cut_after=100), UNAVAILABLE, Answer(200, PAINTING))
    (saved,) = client.download(DONE, tmp_path)
    assert saved.read_bytes() == PAINTING
    assert list(tmp_path.iterdir()) == [saved]


def test_a_refusal_of_the_storage_names_the_image(storage: ScriptedServer, client: Client, tmp_path: Path) -> None:
    storage.will_answer(Answer(403, b"<Error/>"))
    with pytest.raises(ApiProblem, match=r"storage at 127\.0\.0\.1 answered 403 for hero-1\.png"):
        client.download(DONE, tmp_path)


@pytest.mark.parametrize(
    ("filename", "saved_as"),
    [
        ("../../evil.png", "evil.png"),
        ("/etc/evil.png", "evil.png"),
        ("..\\evil.png", "evil.png"),
        (".hidden.png", "hidden.png"),
        ("..", f"{JOB_ID}-0"),
        ("", f"{JOB_ID}-0"),
    ],
)
def test_no_file_name_leads_out_of_the_folder(
    storage: ScriptedServer, client: Client, tmp_path: Path, filename: str, saved_as: str
) -> None:
    storage.will_answer(Answer(200, PAINTING))
    folder = tmp_path / "a" / "b"
    assert client.download(job(JobState.SUCCEEDED, filename), folder) == [folder / saved_as]
