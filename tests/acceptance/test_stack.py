"""The main job, end to end, on the stack that `imagequeue up` starts."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
from fleet_kit import PROGRAM, Fleet, SandboxProcess, answers
from PIL import Image
from stack_kit import STOP_SECONDS, Stack, running_stack

from imagequeue.jobs import JobState
from imagequeue.local_stack import read_state
from imagequeue.store.keys import Keys
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import wait_until


def test_a_job_goes_from_http_to_stored_images_and_back(stack: Stack) -> None:
    job = stack.post_job(prompt="A lighthouse", size="1536x1024", output_format="png", n=2)
    assert job["state"] == "succeeded", job
    assert len(job["images"]) == 2
    for image in job["images"]:
        body = stack.get(image["url"]).content
        assert hashlib.sha256(body).hexdigest() == image["sha256"]
        assert Image.open(io.BytesIO(body)).size == (1536, 1024)
        preview = stack.get(image["preview_url"]).content
        assert Image.open(io.BytesIO(preview)).size == (768, 512)
    assert job["cost_usd_estimated"] > 0
    assert any("sandbox" in note for note in job["notes"])


def test_fifty_jobs_submitted_at_once_all_finish(stack: Stack) -> None:
    with ThreadPoolExecutor(50) as pool:
        posts = [pool.submit(stack.post_job, prompt=f"At once {number}") for number in range(50)]
    jobs = [post.result() for post in posts]
    assert [job["state"] for job in jobs] == ["succeeded"] * 50
    assert len({job["id"] for job in jobs}) == 50


def test_the_command_line_saves_what_it_generates(stack: Stack, tmp_path: Path) -> None:
    run = stack.run("generate", "A quiet harbour", "--quality", "low", "--format", "webp", "-o", str(tmp_path))
    assert run.returncode == 0, run.stderr
    (file,) = tmp_path.iterdir()
    with Image.open(file) as image:
        assert image.format == "WEBP"
    assert file.name in run.stdout


def test_the_command_line_refuses_a_bad_size_before_anything_is_spent(stack: Stack, tmp_path: Path) -> None:
    before = len(stack.get("/v1/jobs?limit=100").json()["jobs"])
    run = stack.run("generate", "A quiet harbour", "--size", "1000x1000", "-o", str(tmp_path))
    assert run.returncode == 2
    assert "multiples of 16" in run.stderr
    assert list(tmp_path.iterdir()) == []
    assert len(stack.get("/v1/jobs?limit=100").json()["jobs"]) == before


def test_doctor_finds_a_healthy_stack_healthy(stack: Stack) -> None:
    run = stack.run("doctor")
    assert run.returncode == 0, run.stdout + run.stderr


def test_jobs_images_and_sessions_outlast_a_stop_and_a_start(data: Path) -> None:
    with running_stack(data) as first:
        job = first.post_job(prompt="A hill", size="1024x1024")
        body = first.get(job["images"][0]["url"]).content
        one = first.post("/v1/sessions", prompt="A hill with a tree", images=[f"job:{job['id']}/0"])
        two = first.post(f"/v1/sessions/{one['session_id']}/turns", prompt="Add a bench")
        key = first.key_header
    with running_stack(data) as second:
        assert second.key_header == key
        assert second.get(f"/v1/jobs/{job['id']}").json() == job
        assert second.get(job["images"][0]["url"]).content == body
        assert second.post_job(prompt="New after the stop")["state"] == "succeeded"
        three = second.post(f"/v1/sessions/{one['session_id']}/turns", prompt="Add a bird")
        session = second.get(f"/v1/sessions/{one['session_id']}").json()
    assert [turn["state"] for turn in (one, two, three)] == ["succeeded"] * 3
    assert three["inputs"][0]["sha256"] == two["images"][0]["sha256"]
    assert (session["state"], session["turn"], len(session["turns"])) == ("active", 3, 3)


def test_sigterm_stops_everything_within_ten_seconds_and_leaves_no_process(data: Path) -> None:
    with running_stack(data) as stack:
        children = _children(stack.process.pid)
        assert len(children) >= 6
        httpx2.post(f"{_sandbox_url(stack)}/sandbox/settings", json={"latency_seconds": 30}).raise_for_status()
        threading.Thread(target=_ignore_errors, args=(stack, "In flight at the end"), daemon=True).start()
        assert wait_until(lambda: "running" in str(stack.get("/v1/jobs").json()), 10)
        started = time.monotonic()
        os.kill(stack.process.pid, signal.SIGTERM)
        stack.process.wait(STOP_SECONDS + 5)
        assert time.monotonic() - started <= STOP_SECONDS
        assert [pid for pid in children if _runs(pid)] == []
        assert read_state(data) is None


def test_with_a_key_the_named_server_is_used_and_no_sandbox_started(data: Path, sandbox: SandboxProcess) -> None:
    with running_stack(data, OPENAI_API_KEY="own", OPENAI_BASE_URL=f"{sandbox.url}/v1") as stack:
        assert stack.ready["sandbox"] is False
        assert stack.ready["openai_base_url"] == f"{sandbox.url}/v1"
        assert stack.post_job(prompt="To the other server")["state"] == "succeeded"
        assert len(sandbox.calls("To the other server")) == 1
        assert "REAL" in stack.output.read_text()
        assert not any("sandbox" in _command(pid) for pid in _children(stack.process.pid))


def test_killing_the_api_between_the_record_and_the_message_loses_no_job(fleet: Fleet) -> None:
    with _SilentBroker() as broker_url:
        port = choose_port()
        environment = fleet.environment | {"IMAGEQUEUE_BROKER_URL": broker_url, "IMAGEQUEUE_API_PORT": str(port)}
        api = subprocess.Popen([PROGRAM, "api"], env=environment, start_new_session=True)
        assert wait_until(lambda: answers(port, "/healthz"), 30)
        body = {"type": "generate", "prompt": "Between record and message", "quality": "low"}
        request = threading.Thread(target=_post_and_lose_the_answer, args=(port, body))
        request.start()
        outbox = Keys(fleet.settings.key_prefix).outbox
        fleet.eventually(lambda: fleet.redis.zcard(outbox) == 1)
        os.killpg(api.pid, signal.SIGKILL)
        api.wait()
        request.join()
    (job_id,) = fleet.redis.zrange(outbox, 0, -1)
    fleet.start_worker()
    job = fleet.queue.wait(job_id, 30)
    assert job.state is JobState.SUCCEEDED
    assert len(fleet.sandbox.calls("Between record and message")) == 1


class _SilentBroker:
    """A broker that takes connections and never answers."""

    def __enter__(self) -> str:
        self._socket = socket.create_server((HOST, 0))
        return f"redis://{HOST}:{self._socket.getsockname()[1]}/0"

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _post_and_lose_the_answer(port: int, body: dict[str, str]) -> None:
    try:
        httpx2.post(f"http://{HOST}:{port}/v1/jobs", json=body, timeout=30)
    except httpx2.TransportError:
        return
    raise AssertionError("the API answered although its broker does not")


def _ignore_errors(stack: Stack, prompt: str) -> None:
    try:
        stack.post_job(prompt=prompt)
    except httpx2.HTTPError:
        return


def _sandbox_url(stack: Stack) -> str:
    return str(stack.ready["openai_base_url"]).removesuffix("/v1")


def _children(pid: int) -> list[int]:
    """All descendants of a process, from /proc."""
    parents = dict[int, int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found, frontier = list[int](), [pid]
    while frontier:
        frontier = [child for child, parent in parents.items() if parent in frontier]
        found += frontier
    return found


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
