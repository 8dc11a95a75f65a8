"""Log lines carry what they should, and no secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Generator
from typing import Any

import pytest
import structlog

from imagequeue.logs import REDACTED, Redactor, configure_logging
from imagequeue.settings import Settings

KNOWN = "wJalrXUtnFEMI/K7MDENG"


@pytest.fixture(autouse=True)
def restored_logging() -> Generator[None]:
    """Logging belongs to the whole process: give it back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def settings(**fields: Any) -> Settings:
    """Settings with known secrets."""
    secrets: dict[str, Any] = {"AWS_SECRET_ACCESS_KEY": KNOWN, "redis_url": "redis://:hunter2-long@127.0.0.1/0"}
    return Settings(**secrets, **fields)


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    "text",
    [
        "key sk-proj-abcdefgh12345678 refused",
        "key iq_live_abcdefgh12345678",
        "Authorization: Bearer abc.def.ghi",
        "AKIAIOSFODNN7EXAMPLE was used",
        "https://s3/x?X-Amz-Credential=KEY%2F2026&X-Amz-Signature=0123abcd&y=1",
        "redis://user:pa55word@host:6379/0",
        "whsec_MfKQ9r8GKYqrTwjU",
    ],
)
def test_what_looks_like_a_secret_is_blotted_out(text: str) -> None:
    cleaned = Redactor().redact(text)
    assert REDACTED in cleaned
    for secret in ("abcdefgh", "abc.def", "AKIA", "KEY%2F", "0123abcd", "pa55word", "MfKQ"):
        assert secret not in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z",
        "https://host:8080/v1/jobs",
        "a task-based risk",
        "redis://127.0.0.1:6379/0",
        "",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor().redact(text) == text


@pytest.mark.parametrize("name", ["password", "api_key", "Authorization", "aws_secret_access_key", "token", "cookie"])
def test_fields_named_like_a_secret_are_blotted_out_at_any_depth(name: str) -> None:
    event = Redactor()(None, "info", {"event": "x", name: "v", "inner": {name: "v", "list": [{name: "v"}]}})
    assert event == {"event": "x", name: REDACTED, "inner": {name: REDACTED, "list": [{name: REDACTED}]}}


def test_figures_stay_whatever_their_name() -> None:
    event = {"event": "x", "input_tokens": 9, "token": None, "ok": True, "seconds": 0.5}
    assert Redactor()(None, "info", dict(event)) == event


def test_known_secrets_are_blotted_out_wherever_they_stand() -> None:
    stream = io.StringIO()
    configure_logging(settings(log_format="json"), stream)
    log = structlog.stdlib.get_logger("test")
    log.info("event", where=f"inside{KNOWN}text", nested=[{"x": KNOWN}])
    try:
        raise RuntimeError(f"refused {KNOWN} and hunter2-long")
    except RuntimeError:
        log.exception("failed")
    logging.getLogger("library").warning("wrote %s", KNOWN)
    text = stream.getvalue()
    assert KNOWN not in text
    assert "hunter2-long" not in text
    assert "Traceback" in text
    assert len(json_lines(stream)) == 3


def test_events_of_libraries_and_our_own_have_one_form() -> None:
    stream = io.StringIO()
    configure_logging(settings(log_format="json"), stream)
    structlog.contextvars.bind_contextvars(request_id="req_1")
    structlog.stdlib.get_logger("ours").info("done", job="job_1")
    logging.getLogger("theirs").info("did %d things", 3)
    ours, theirs = json_lines(stream)
    assert (ours["event"], ours["job"], ours["request_id"], ours["level"], ours["logger"]) == (
        "done",
        "job_1",
        "req_1",
        "info",
        "ours",
    )
    assert (theirs["event"], theirs["request_id"], theirs["logger"]) == ("did 3 things", "req_1", "theirs")
    assert ours["timestamp"].endswith("Z")


def test_what_is_below_the_level_is_not_logged() -> None:
    stream = io.StringIO()
    configure_logging(settings(log_level="warning"), stream)
    structlog.stdlib.get_logger("ours").info("quiet")
    logging.getLogger("theirs").info("quiet")
    assert stream.getvalue() == ""


def test_the_console_form_is_readable_and_shows_tracebacks() -> None:
    stream = io.StringIO()
    configure_logging(settings(), stream)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.stdlib.get_logger("ours").exception("it_failed", job="job_1")
    text = stream.getvalue()
    assert "it_failed" in text
    assert "job=job_1" in text
    assert "ValueError: broken" in text
    assert "\x1b[" not in text


def test_configuring_twice_logs_once() -> None:
    stream = io.StringIO()
    configure_logging(settings(log_format="json"), stream)
    configure_logging(settings(log_format="json"), stream)
    structlog.stdlib.get_logger("ours").info("once")
    assert len(json_lines(stream)) == 1


def test_http_clients_do_not_log_requests_at_debug() -> None:
    stream = io.StringIO()
    configure_logging(settings(log_level="debug"), stream)
    logging.getLogger("botocore.endpoint").debug("headers: secret")
    logging.getLogger("httpx2").info("HTTP Request: GET https://host/")
    assert stream.getvalue() == ""
