"""Which hosts an API answers for."""

from __future__ import annotations

import pytest
from flask import Flask

from api.problems import register_problems
from api.strictness import refuse_ambiguous_requests
from imagequeue.settings import Settings

OWN = ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.0.0.2", "[::1]:1"]


@pytest.mark.parametrize(
    ("listens_on", "allowed", "host", "status"),
    [
        *(("127.0.0.1", None, host, 404) for host in OWN),
        ("127.0.0.1", None, "::1", 400),
        ("127.0.0.1", None, "api.example.com", 421),
        ("127.0.0.1", "api.example.com", "API.example.com:443", 404),
        ("127.0.0.1", "api.example.com, other.example", "other.example", 404),
        ("127.0.0.1", "api.example.com", "x.api.example.com", 421),
        ("127.0.0.1", ".example.com", "x.api.example.com", 404),
        ("127.0.0.1", ".example.com", "badexample.com", 421),
        ("0.0.0.0", None, "api.example.com", 404),  # nothing listens
        ("0.0.0.0", "api.example.com", "elsewhere.example", 421),
        ("0.0.0.0", "api.example.com", "localhost", 404),  # health checks come from the machine itself
    ],
)
def test_hosts(listens_on: str, allowed: str | None, host: str, status: int) -> None:
    app = Flask(__name__)
    register_problems(app)
    refuse_ambiguous_requests(app, Settings(api_host=listens_on, api_allowed_hosts=allowed))
    answer = app.test_client().get("/nowhere", headers={"Host": host})
    assert answer.status_code == status
    if status == 421:
        assert answer.json is not None
        assert (answer.json["code"], "IMAGEQUEUE_API_ALLOWED_HOSTS" in answer.json["detail"]) == ("wrong_host", True)
