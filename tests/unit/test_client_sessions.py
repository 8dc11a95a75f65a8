"""The client's uploads, edits and sessions against a real server that answers as each test says."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from client_kit import JOB_ID, PAINTING, Answer, ScriptedServer, image, job, refused, told
from retention_kit import figures_of

from imagequeue.client import ApiProblem, ApiUnreachable, Client
from imagequeue.jobs import JobState
from imagequeue.requests import ContinueSessionRequest, EditRequest, StartSessionRequest
from imagequeue.session_views import SessionPage, SessionSummary, SessionView
from imagequeue.sessions import SessionState
from imagequeue.usage_reports import UsageReport

SESSION_ID = "ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
UPLOAD = f"upload:{'0' * 64}"
STORED = Answer(201, json.dumps({"image": UPLOAD, "mime_type": "image/png", "size_bytes": 7}).encode())
NO_ANSWER = Answer(200, cut_after=-1)


def summary() -> SessionSummary:
    """A session."""
    return SessionSummary(
        id=SESSION_ID,
        state=SessionState.ACTIVE,
        end_reason=None,
        forked_from=None,
        output_format="png",
        turn=1,
        turns_submitted=1,
        turns_waiting=0,
        last_prompt="a lighthouse",
        image_url=f"/v1/jobs/{JOB_ID}/images/0",
        cost_usd_estimated=0.01,
        possible_extra_cost_usd=0,
        created_at=datetime(2026, 8, 1, tzinfo=UTC),
        updated_at=datetime(2026, 8, 1, tzinfo=UTC),
    )


SESSION = SessionView(**summary().model_dump(), turns=(job(JobState.SUCCEEDED),), image=image())
SESSION_TOLD = Answer(200, SESSION.model_dump_json().encode())


def sent(server: ScriptedServer) -> list[tuple[str, str, object]]:
    """Method, path and JSON body of each request."""
    return [(one.method, one.path, json.loads(one.body) if one.body else None) for one in server.asked]


def test_an_upload_sends_the_files_bytes_without_name_and_type(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "secret name.jpg").write_bytes(PAINTING)
    server.will_answer(STORED)
    assert client.upload(tmp_path / "secret name.jpg") == UPLOAD
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/uploads")
    assert asked.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert PAINTING in asked.body
    assert b'name="file"' in asked.body
    assert b"secret" not in asked.body
    assert b"jpeg" not in asked.body


def test_an_upload_is_repeated_whole_until_it_is_kept(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PAINTING)
    server.will_answer(refused(503, "objects_unavailable"), NO_ANSWER, STORED)
    assert client.upload(tmp_path / "a.png") == UPLOAD
    assert [PAINTING in asked.body for asked in server.asked] == [True, True, True]


def test_an_upload_that_is_refused_is_not_repeated(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"text")
    server.will_answer(refused(415, "input_not_an_image"))
    with pytest.raises(ApiProblem) as caught:
        client.upload(tmp_path / "a.png")
    assert (caught.value.code, len(server.asked)) == ("input_not_an_image", 1)
    with pytest.raises(FileNotFoundError):
        client.upload(tmp_path / "missing.png")


def test_an_edit_is_submitted_as_a_job(server: ScriptedServer, client: Client) -> None:
    server.will_answer(told(job(), 202))
    assert client.submit(EditRequest(type="edit", prompt="fog", images=(UPLOAD,), n=2)) == job()
    body = {"type": "edit", "prompt": "fog", "images": [UPLOAD], "n": 2}
    assert sent(server) == [("POST", "/v1/jobs", body)]


def test_sessions_are_started_and_go_on_with_what_was_set(server: ScriptedServer, client: Client) -> None:
    server.will_answer(told(job(), 202))
    client.start_session(StartSessionRequest(prompt="night", images=(UPLOAD,), mask=UPLOAD))
    client.add_turn(SESSION_ID, ContinueSessionRequest(prompt="fog", output_format="webp"))
    client.add_turn(SESSION_ID, {"prompt": "rain"})
    turns = f"/v1/sessions/{SESSION_ID}/turns"
    assert sent(server) == [
        ("POST", "/v1/sessions", {"prompt": "night", "images": [UPLOAD], "mask": UPLOAD}),
        ("POST", turns, {"prompt": "fog", "output_format": "webp"}),
        ("POST", turns, {"prompt": "rain"}),
    ]


def test_a_turn_whose_answer_was_lost_is_sent_again_with_the_same_key(server: ScriptedServer, client: Client) -> None:
    for send in (
        lambda: client.add_turn(SESSION_ID, {"prompt": "fog"}),
        lambda: client.start_session({"prompt": "fog", "images": [UPLOAD]}),
    ):
        server.asked.clear()
        server.will_answer(NO_ANSWER, told(job(), 202))
        assert send() == job()
        first, again = ((asked.headers["Idempotency-Key"], asked.path, asked.body) for asked in server.asked)
        assert first == again


@pytest.mark.parametrize("answer", [NO_ANSWER, refused(503, "store_unavailable")])
def test_a_fork_that_may_have_been_made_is_not_made_again(
    server: ScriptedServer, client: Client, answer: Answer
) -> None:
    server.will_answer(answer)
    with pytest.raises((ApiUnreachable, ApiProblem)):
        client.fork_session(SESSION_ID)
    assert len(server.asked) == 1


def test_a_full_session_is_told_of_at_once(server: ScriptedServer, client: Client) -> None:
    server.will_answer(refused(429, "session_full"))
    with pytest.raises(ApiProblem) as caught:
        client.add_turn(SESSION_ID, {"prompt": "fog"})
    assert (caught.value.code, len(server.asked)) == ("session_full", 1)


def test_sessions_are_read_listed_forked_and_ended(server: ScriptedServer, client: Client) -> None:
    page = SessionPage(sessions=(summary(),), next_cursor=SESSION_ID)
    server.will_answer(SESSION_TOLD, Answer(200, page.model_dump_json().encode()), SESSION_TOLD)
    assert client.get_session(SESSION_ID) == SESSION
    assert client.list_sessions(SESSION_ID, 7) == page
    assert client.fork_session(SESSION_ID) == client.fork_session(SESSION_ID, 0) == SESSION
    assert client.end_session(SESSION_ID) == SESSION
    path = f"/v1/sessions/{SESSION_ID}"
    assert sent(server) == [
        ("GET", path, None),
        ("GET", f"/v1/sessions?cursor={SESSION_ID}&limit=7", None),
        ("POST", f"{path}/fork", {"turn": None}),
        ("POST", f"{path}/fork", {"turn": 0}),
        ("POST", f"{path}/end", None),
    ]


@pytest.mark.parametrize("session_id", ["../jobs", "..", "a/b?x=9#y", ""])
def test_no_session_id_leads_to_another_resource(server: ScriptedServer, client: Client, session_id: str) -> None:
    server.will_answer(refused(404, "session_not_found"))
    with pytest.raises(ApiProblem):
        client.get_session(session_id)
    path = server.asked[0].path
    assert path.startswith("/v1/sessions/")
    assert not set("/?#. ") & set(path.removeprefix("/v1/sessions/"))


def test_jobs_are_listed_by_type_and_session(server: ScriptedServer, client: Client) -> None:
    server.will_answer(Answer(200, b'{"jobs": [], "next_cursor": null}'))
    client.list(JobState.FAILED, job_type="turn", session_id=SESSION_ID, limit=3)
    assert server.asked[0].path == f"/v1/jobs?state=failed&type=turn&session={SESSION_ID}&limit=3"


def test_a_preview_is_fetched_from_storage_without_the_key(server: ScriptedServer, client: Client) -> None:
    with ScriptedServer().serving() as storage:
        storage.will_answer(Answer(200, b"small"))
        server.will_answer(Answer(302, headers={"Location": f"{storage.url}/signed"}))
        assert client.preview(JOB_ID, image()) == b"small"
        assert server.asked[0].path == f"/v1/jobs/{JOB_ID}/images/0?variant=preview"
        assert "Authorization" not in storage.asked[0].headers
        storage.will_answer(Answer(403, b"<xml>"))
        with pytest.raises(ApiProblem, match="403") as caught:
            client.preview(JOB_ID, image())
    assert caught.value.code == "image_not_served"


def test_jobs_and_sessions_are_deleted_by_their_ids(server: ScriptedServer, client: Client) -> None:
    server.will_answer(Answer(204))
    client.delete(JOB_ID)
    client.delete_session(SESSION_ID)
    assert sent(server) == [("DELETE", f"/v1/jobs/{JOB_ID}", None), ("DELETE", f"/v1/sessions/{SESSION_ID}", None)]
    server.will_answer(refused(409, "image_in_use"))
    with pytest.raises(ApiProblem) as caught:
        client.delete(JOB_ID)
    assert caught.value.code == "image_in_use"


def test_usage_is_asked_for_by_days(server: ScriptedServer, client: Client) -> None:
    figures = figures_of([job(JobState.SUCCEEDED)])
    report = UsageReport(first_day=date(2026, 8, 1), last_day=date(2026, 8, 2), group="model", rows=(), total=figures)
    server.will_answer(Answer(200, report.model_dump_json().encode()))
    assert client.usage(date(2026, 8, 1), date(2026, 8, 2), "model") == report
    client.usage()
    assert [path for _, path, _ in sent(server)] == [
        "/v1/usage?from=2026-08-01&to=2026-08-02&group=model",
        "/v1/usage?group=day",
    ]
