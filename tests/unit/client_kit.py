"""A real HTTP server whose answers a test lays out one by one, and jobs to answer with."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from imagequeue.jobs import JobState, PriceEstimate
from imagequeue.requests import GenerateRequest
from imagequeue.views import ImageView, JobView, image_path

JOB_ID = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
PAINTING = b"not a real picture, but real bytes" * 1000


@dataclass(frozen=True)
class Answer:
    """One answer. `cut_after`: the connection is closed after so many bytes of the body; -1: without any answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    cut_after: int | None = None


@dataclass(frozen=True)
class Asked:
    """One request as the server received it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedServer:
    """Gives the answers in order, and the last one again and again."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: deque[Answer] = deque()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def will_answer(self, *answers: Answer) -> None:
        """Forget what was laid out, and answer so."""
        self._answers = deque(answers)

    def next_answer(self) -> Answer:
        """Called for each request."""
        return self._answers.popleft() if len(self._answers) > 1 else self._answers[0]

    @contextmanager
    def serving(self) -> Generator[ScriptedServer]:
        """Serve while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _handler(script: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            script.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            answer = script.next_answer()
            if answer.cut_after == -1:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut_after])

        do_POST = do_DELETE = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    return Handler


def job(state: JobState = JobState.QUEUED, filename: str = "hero-1.png") -> JobView:
    """A job in this state; a succeeded one has the image PAINTING."""
    images = (image(filename),) if state is JobState.SUCCEEDED else ()
    return JobView(
        id=JOB_ID,
        type="generate",
        state=state,
        lane="interactive",
        model="gpt-image-2",
        request=GenerateRequest(prompt="a lighthouse"),
        session_id=None,
        turn=None,
        inputs=(),
        position=1 if state is JobState.QUEUED else None,
        waiting_for=None,
        created_at=datetime(2026, 8, 1, tzinfo=UTC),
        started_at=None,
        finished_at=None,
        attempts=(),
        images=images,
        applied=None,
        usage=None,
        cost_usd_estimated=None,
        estimate=PriceEstimate(low_usd=0.01, expected_usd=0.05, high_usd=0.2),
        possible_extra_cost_usd=0,
        error=None,
        notes=(),
    )


def image(filename: str = "hero-1.png") -> ImageView:
    """PAINTING as an image."""
    path = image_path(JOB_ID, 0)
    return ImageView(
        index=0,
        key="images/0.png",
        url=path,
        preview_url=f"{path}?variant=preview",
        filename=filename,
        mime_type="image/png",
        size_bytes=len(PAINTING),
        width=1024,
        height=1024,
        sha256=hashlib.sha256(PAINTING).hexdigest(),
    )


def told(view: JobView, status: int = 200, **more: object) -> Answer:
    """The job as the API answers it, perhaps with fields that this version does not know."""
    body = json.dumps({**view.model_dump(mode="json"), **more}).encode()
    return Answer(status, body, {"Content-Type": "application/json"})


def refused(status: int, code: str, errors: list[dict[str, str]] | None = None) -> Answer:
    """A problem."""
    problem = {"type": f"/problems/{code}", "title": code, "status": status, "detail": f"it was {code}", "code": code}
    body = json.dumps({**problem, "instance": "/", **({"errors": errors} if errors else {})}).encode()
    return Answer(status, body, {"Content-Type": "application/problem+json"})
