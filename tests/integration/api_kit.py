"""The real API as a process over a real Redis and a real S3, and a stand-in for the worker's moves."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import httpx2
from jsonschema import Draft202012Validator
from picture_kit import png

from api.problems import PROBLEM_TYPES
from imagequeue.jobs import AttemptOutcome, Claim, Image, Job, JobError, JobState, Result, Usage
from imagequeue.objects import ObjectStore
from imagequeue.sessions import SessionImage, session_image
from imagequeue.settings import Settings
from imagequeue.store.attempts import AttemptStore
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import wait_until

RUN_API = (sys.executable, "-c", "from api.server import main; main()")
LEASE_MS = 60_000
START_SECONDS = 60
BODY = {"prompt": "A lighthouse at dawn"}
PICTURE = png()


@dataclass
class RunningApi:
    """An API process that answers, and the records behind it."""

    process: subprocess.Popen[bytes]
    settings: Settings
    log: Path
    http: httpx2.Client

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.settings.api_port}"

    def stop(self) -> None:
        """End it, with all of its processes."""
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def submit(self, **fields: object) -> str:
        """Submit a job and return its id."""
        answer = self.http.post("/v1/jobs", json={**BODY, **fields})
        assert answer.status_code == HTTPStatus.ACCEPTED, answer.text
        return cast("str", answer.json()["id"])


class StandInWorker:
    """Moves jobs as a worker would, without Celery and without OpenAI."""

    def __init__(self, settings: Settings, name: str = "stand-in") -> None:
        self.store = AttemptStore(connect(settings.redis_url), Keys(settings.key_prefix))
        self.objects = ObjectStore(settings)
        self.name = name

    def claim(self, job_id: str) -> Claim:
        """Take a queued job."""
        claim = self.store.claim(job_id, self.name, secrets.token_hex(8), LEASE_MS)
        assert claim is not None
        return claim

    def succeed(self, claim: Claim, images: Sequence[Image] = ()) -> Job:
        """End a job well."""
        result = Result(
            state=JobState.SUCCEEDED,
            outcome=AttemptOutcome.SUCCEEDED,
            images=tuple(images),
            usage=Usage(input_tokens=9, output_tokens=196, total_tokens=205),
            cost_usd_estimated=0.006,
        )
        made = claim.job.model_copy(update={"images": result.images})
        return self._finish(claim, result, session_image(made) if claim.job.session_id else None)

    def fail(self, claim: Claim) -> Job:
        """End a job as OpenAI's safety system would."""
        error = JobError(code="moderation_blocked", message="Refused by OpenAI's safety system.")
        return self._finish(claim, Result(state=JobState.FAILED, outcome=AttemptOutcome.FAILED, error=error))

    def store_image(self, job_id: str, original: bytes, preview: bytes) -> Image:
        """Put an image into S3."""
        key, preview_key = f"images/{job_id}/1/0.png", f"images/{job_id}/1/0.preview.jpg"
        self.objects.put_bytes(key, original, content_type="image/png", filename="lighthouse.png")
        self.objects.put_bytes(preview_key, preview, content_type="image/jpeg", filename="preview.jpg")
        return Image(
            index=0,
            key=key,
            preview_key=preview_key,
            filename="lighthouse.png",
            mime_type="image/png",
            size_bytes=len(original),
            width=1024,
            height=1024,
            sha256=hashlib.sha256(original).hexdigest(),
        )

    def show_life(self) -> None:
        """Give the sign of life that a heartbeat gives."""
        self.store.renew(self.name, [], LEASE_MS)

    def _finish(self, claim: Claim, result: Result, image: SessionImage | None = None) -> Job:
        assert self.store.finish(claim, result, image).answer == "finished"
        return self.store.get(claim.job.id)


def start_api(environment: Mapping[str, str], log: Path) -> RunningApi:
    """Start the API, on a free port unless the environment names one, and wait until it answers."""
    port = int(environment.get("IMAGEQUEUE_API_PORT") or choose_port())
    names = {**environment, "IMAGEQUEUE_API_HOST": HOST, "IMAGEQUEUE_API_PORT": str(port)}
    settings = settings_of(names)
    with log.open("ab") as output:
        process = subprocess.Popen(
            RUN_API,
            env={**inherited(), **names},
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    api = RunningApi(
        process=process,
        settings=settings,
        log=log,
        http=httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=60, trust_env=False),
    )
    if not wait_until(lambda: process.poll() is not None or _answers(api), START_SECONDS) or process.poll() is not None:
        api.stop()
        raise AssertionError(f"The API did not start:\n{log.read_text(errors='replace')}")
    return api


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that a process with this environment has."""
    fields: dict[str, Any] = {
        name if name.startswith("AWS_") else name.removeprefix("IMAGEQUEUE_").lower(): value
        for name, value in environment.items()
    }
    return Settings(**fields)


def data_url(content: bytes = PICTURE) -> str:
    """An image within the request."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def upload(api: RunningApi, content: bytes = PICTURE) -> str:
    """An uploaded image's name."""
    answer = api.http.post("/v1/uploads", files={"file": ("a.png", content, "image/png")})
    return cast("str", answer.raise_for_status().json()["image"])


def succeed(worker: StandInWorker, job_id: str, original: bytes = PICTURE) -> None:
    """Run a job to its end with an image."""
    worker.succeed(worker.claim(job_id), [worker.store_image(job_id, original, b"preview")])


def refused(answer: httpx2.Response, code: str) -> dict[str, Any]:
    """The problem, which must be this one with its own status."""
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (PROBLEM_TYPES[code].status, code), problem
    return cast("dict[str, Any]", problem)


def assert_documented(document: Mapping[str, Any], name: str, body: object) -> None:
    """Assert that `body` is what the OpenAPI document calls `name`."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    cast("Any", Draft202012Validator(schema)).validate(body)


def _answers(api: RunningApi) -> bool:
    try:
        return api.http.get("/healthz").status_code == HTTPStatus.OK
    except httpx2.TransportError:
        return False


def inherited() -> dict[str, str]:
    """What a process gets of this one's environment."""
    # COVERAGE_*: so that the process is measured when the tests are.
    return {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG") or name.startswith("COVERAGE_")
    }
