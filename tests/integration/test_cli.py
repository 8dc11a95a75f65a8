"""The `imagequeue` command as people run it: the installed script, against a whole stack that it started itself."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cli_kit import JOB_ID, LIMIT_SECONDS, SCRIPT, Shell, client_of, lonely_shell
from PIL import Image

from imagequeue.jobs import JobState


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """The command where nothing runs."""
    return lonely_shell(tmp_path)


def let_hang(stack: Mapping[str, Any], prompt: str) -> None:
    """The sandbox never answers a call with this prompt."""
    fault = {"fault": {"hang": True}, "times": 1, "match": {"prompt_contains": prompt}}
    root = str(stack["openai_base_url"]).removesuffix("/v1")
    httpx2.post(f"{root}/sandbox/faults", json=fault).raise_for_status()


def test_generate_saves_the_image_and_says_what_it_cost_and_that_it_is_painted(iq: Shell) -> None:
    run = iq("generate", "a lighthouse at dawn", "--size", "1536x1024", "-o", "out")
    assert run.code == 0, run
    file, pixels, size, cost = run.out.rstrip("\n").split("\t")
    with Image.open(iq.folder / file) as image:
        assert (image.size, image.format) == ((1536, 1024), "PNG")
    assert pixels == "1536x1024"
    assert size == f"{(iq.folder / file).stat().st_size:,}"
    assert re.fullmatch(r"\$\d\.\d{4}", cost)
    assert re.search(r"^Cost: \$\d\.\d{4} ", run.err, re.MULTILINE)
    assert re.search(r"^Note: Painted by the imagequeue sandbox", run.err, re.MULTILINE)


def test_an_image_is_used_again_and_said_to_cost_nothing(iq: Shell) -> None:
    options = ("generate", "a fox that comes again", "--quality", "low", "--json")
    first, again = (json.loads(iq(*options, *more).out) for more in ((), ("--reuse",)))
    assert (again["reused_from"], again["cost_usd_estimated"]) == (first["id"], 0)
    saved = [(iq.folder / job["files"][0]).read_bytes() for job in (first, again)]
    assert saved[0] == saved[1]
    assert first["files"] != again["files"]
    edit = ("edit", "make it night", first["files"][0], "--quality", "low", "--json")
    edited, same = (json.loads(iq(*edit, *more).out) for more in ((), ("--reuse",)))
    assert same["reused_from"] == edited["id"]


OTHERS = ("--user", "u-1", "--on-unknown", "fail")


def test_generate_passes_every_option_on(iq: Shell) -> None:
    options = "--size 1024x1024 --quality low -n 2 --format jpeg --compression 80 --background opaque --moderation low"
    run = iq(
        "generate",
        "two foxes",
        *options.split(),
        "--prefix",
        "Füchse im Schnee",
        "--user",
        "u-1",
        "--on-unknown",
        "fail",
        "--json",
    )
    assert run.code == 0, run
    job = json.loads(run.out)
    asked = {"size": "1024x1024", "quality": "low", "n": 2, "output_format": "jpeg", "output_compression": 80}
    asked |= {"background": "opaque", "moderation": "low", "filename_prefix": "Fuchse-im-Schnee", "user": "u-1"}
    asked |= {"on_unknown_outcome": "fail", "partial_images": 0}
    assert job["request"] == asked | {"type": "generate", "prompt": "two foxes"}
    assert len(job["files"]) == 2
    for file, image in zip(job["files"], job["images"], strict=True):
        assert hashlib.sha256((iq.folder / file).read_bytes()).hexdigest() == image["sha256"]
        assert "Fuchse-im-Schnee" in file


def test_a_long_prompt_comes_from_standard_input(iq: Shell) -> None:
    run = iq("generate", "-", "--json", "--quality", "low", stdin="ein Leuchtturm\nim Nebel\n" * 500)
    assert run.code == 0, run
    assert json.loads(run.out)["request"]["prompt"] == ("ein Leuchtturm\nim Nebel\n" * 500).rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["x", "--size", "1000x1000"], ["--size: both edges must be multiples of 16; given 1000x1000"]),
        (["x", "--format", "gif", "-n", "11", "--compression", "200"], ["--format: ", "--n: ", "--compression: "]),
        (["   "], ["PROMPT: must not be blank"]),
        (["x", "--background", "transparent"], ["--background: gpt-image-2 does not support transparent"]),
        (["x", "-o", "a-file"], ["--output: must be a folder that can be written"]),
    ],
)
def test_bad_input_is_told_one_line_a_rule_and_makes_no_job(iq: Shell, arguments: list[str], told: list[str]) -> None:
    (iq.folder / "a-file").touch()
    before = iq("jobs", "list", "--limit", "1").out
    run = iq("generate", *arguments)
    assert run.code == 2
    lines = run.err.splitlines()
    assert len(lines) == len(told)
    assert all(any(line.startswith(start) for line in lines) for start in told), run.err
    assert iq("jobs", "list", "--limit", "1").out == before


def test_a_refused_job_ends_with_1_the_reason_and_what_to_do(iq: Shell) -> None:
    run = iq("generate", "something FORBIDDEN", "--json")
    assert run.code == 1
    assert json.loads(run.out)["error"]["code"] == "moderation_blocked"
    assert f"{run.job_id} failed (moderation_blocked): " in run.err
    assert "Change the prompt" in run.err


def test_a_job_left_alone_is_fetched_later_and_never_overwrites_a_file(iq: Shell) -> None:
    left = iq("generate", "for later", "--no-wait", "-o", "my images")
    assert left.code == 0
    assert left.out == f"{left.job_id}\n"
    assert f"imagequeue jobs wait {left.job_id} -o 'my images'" in left.err
    first, again = (iq("jobs", "wait", left.job_id, "-o", "my images") for _ in range(2))
    assert first.code == again.code == 0
    assert first.out == again.out, "what is there already is not fetched again"
    (saved,) = (iq.folder / "my images").iterdir()
    saved.write_bytes(b"mine now")
    third = iq("jobs", "wait", left.job_id, "-o", "my images", "--json")
    assert json.loads(third.out)["files"] == [f"my images/{saved.stem}-1.png"]
    assert saved.read_bytes() == b"mine now"


def test_waiting_without_a_folder_saves_nothing_and_says_how_to(iq: Shell) -> None:
    job_id = iq("generate", "for later", "--no-wait").job_id
    run = iq("jobs", "wait", job_id)
    assert run.code == 0
    assert run.out.startswith(f"/v1/jobs/{job_id}/images/0\t")
    assert f"imagequeue jobs wait {job_id} -o" in run.err
    assert list(iq.folder.iterdir()) == []


def test_ctrl_c_leaves_the_job_running_and_says_how_to_fetch_or_stop_it(stack: Mapping[str, Any], iq: Shell) -> None:
    let_hang(stack, "slow painter")
    command = iq.start("generate", "slow painter", "-o", "out")
    assert command.stderr
    job_id = JOB_ID.findall(command.stderr.readline())[0]
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=LIMIT_SECONDS)
    assert (command.returncode, out) == (130, "")
    assert f"imagequeue jobs wait {job_id} -o out" in err
    assert "Traceback" not in err
    with client_of(stack) as client:
        assert not client.get(job_id).state.terminal
        cancelled = iq("jobs", "cancel", job_id)
        assert cancelled.code == 0
        assert job_id in cancelled.out
        assert client.wait(job_id, 30).state is JobState.CANCELLED
    waited = iq("jobs", "wait", job_id, "-o", "out")
    assert (waited.code, f"{job_id} was cancelled." in waited.err) == (1, True)


def test_jobs_are_listed_and_shown(iq: Shell) -> None:
    job_id = iq("generate", "a list of things\x1b[31m", "--quality", "low").job_id
    newest = iq("jobs", "list", "--state", "succeeded", "--limit", "1").out.split("\t")
    assert (newest[0], newest[1]) == (job_id, "succeeded")
    assert newest[-1] == "a list of things [31m\n", "a terminal must not obey a prompt"
    page = json.loads(iq("jobs", "list", "--limit", "2", "--json").out)
    assert (page["jobs"][0]["id"], len(page["jobs"])) == (job_id, 2)
    shown = iq("jobs", "show", job_id)
    for fact in (job_id, "succeeded", "quality=low", f"/v1/jobs/{job_id}/images/0", "Cost:"):
        assert fact in shown.out
    assert json.loads(iq("jobs", "show", job_id, "--json").out) == page["jobs"][0]


def test_what_cannot_be_done_to_a_job_is_said_and_exits_with_1(iq: Shell) -> None:
    missing = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
    for command in (("show",), ("wait",), ("cancel",)):
        run = iq("jobs", *command, missing)
        assert (run.code, missing in run.err, run.out) == (1, True, "")
    finished = iq("generate", "done soon", "--quality", "low").job_id
    assert iq("jobs", "cancel", finished).code == 1


def test_a_job_that_failed_is_tried_again_as_a_new_one_and_one_that_succeeded_is_not(iq: Shell) -> None:
    failed = iq("generate", "FORBIDDEN again", "--quality", "low").job_id
    again = iq("jobs", "retry", failed)
    assert (again.code, again.job_id != failed) == (0, True)
    assert f"imagequeue jobs wait {again.job_id}" in again.err
    assert iq("jobs", "wait", again.job_id).code == 1, "the same request is refused again"
    succeeded = iq("generate", "fine at once", "--quality", "low").job_id
    refused = iq("jobs", "retry", succeeded)
    assert (refused.code, f"{succeeded} has succeeded" in refused.err) == (1, True)


def test_jobs_are_deleted_but_for_those_that_cannot_be_and_stay_in_the_usage(iq: Shell) -> None:
    missing = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
    finished = [iq("generate", f"short-lived {number}", "--quality", "low").job_id for number in range(2)]
    usage = iq("usage", "--json").out
    run = iq("jobs", "delete", finished[0], missing, finished[1])
    assert (run.code, run.out.split()) == (1, finished)
    assert missing in run.err
    assert iq("jobs", "show", finished[0]).code == 1
    assert iq("usage", "--json").out == usage
    row = iq("usage").out.split("\t")
    told = json.loads(usage)["total"]
    assert (row[1], row[4]) == (str(told["jobs"]["succeeded"]), str(told["images"]))
    assert "No job ended" in iq("usage", "--from", "2001-01-01", "--to", "2001-01-02").err
    assert iq("usage", "--from", "2001-01-02", "--to", "2001-01-01").code == 2


def test_a_session_is_deleted_once_it_is_over(iq: Shell) -> None:
    job_id = iq("generate", "a pier", "--quality", "low").job_id
    session_id = iq("session", "start", "at night", f"job:{job_id}/0", "--no-wait").out.strip()
    refused = iq("session", "delete", session_id)
    assert (refused.code, "/end" in refused.err) == (1, True)
    turn = json.loads(iq("session", "show", session_id, "--json").out)["turns"][0]["id"]
    iq("jobs", "wait", turn)
    iq("session", "end", session_id)
    assert iq("session", "delete", session_id).out == f"{session_id}\n"
    assert iq("session", "show", session_id).code == 1


def test_a_terminal_gets_a_live_line_and_a_table(iq: Shell) -> None:
    ours, theirs = pty.openpty()
    command = [SCRIPT, "generate", "on a terminal", "--quality", "low"]
    with subprocess.Popen(command, cwd=iq.folder, env=iq.environment, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        shown = read_terminal(ours)
    assert running.returncode == 0
    assert re.search(r"job_\w+ · (queued|running|succeeded) · .*\d s", shown)
    assert re.search(r"file\W.*pixels\W.*bytes\W.*cost", shown)
    assert "Note: Painted" in shown


def read_terminal(descriptor: int) -> str:
    """All that is written until the other side closes; Linux tells that by an error."""
    written = b""
    try:
        while piece := os.read(descriptor, 65536):
            written += piece
    except OSError:
        pass
    os.close(descriptor)
    return written.decode()


def test_the_doctor_finds_a_healthy_stack_healthy(iq: Shell) -> None:
    run = iq("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(run.out)}
    assert {check["verdict"] for check in checks.values()} == {"ok"}, run.out
    assert run.code == 0
    services = {"api", "mcp", "redis", "redis eviction", "redis appendonly", "s3", "workers", "messages"}
    assert {"settings", *services} <= {*checks}
    assert checks["api key"]["detail"] == "first of local may admin, read, submit"
    assert "painted" in checks["openai"]["detail"]


def test_the_doctor_says_how_to_mend_each_wrong_part(stack: Mapping[str, Any], iq: Shell) -> None:
    run = iq(
        "doctor",
        IMAGEQUEUE_REDIS_URL=str(stack["redis_url"]),
        IMAGEQUEUE_KEY_PREFIX="nobody-works-here:",
        IMAGEQUEUE_S3_ENDPOINT=str(stack["s3_endpoint"]),
        AWS_ACCESS_KEY_ID="wrong-access-key",
        AWS_SECRET_ACCESS_KEY="wrong-secret",
    )
    assert run.code == 1
    lines = {line.split(":")[0]: line for line in run.out.splitlines()}
    assert "-> Start a worker: imagequeue worker" in lines["✗ workers"]
    assert "AWS_ACCESS_KEY_ID" in lines["✗ s3"]
    assert "-> Set OPENAI_API_KEY" in lines["✗ openai"]
    assert "✓ redis" in lines
    assert "wrong-secret" not in run.out + run.err


def test_the_doctor_of_a_machine_where_nothing_runs_starts_with_the_api(alone: Shell) -> None:
    run = alone("doctor")
    assert run.code == 1
    assert "✗ api: nothing answers at http://127.0.0.1:1  -> Start it: imagequeue up." in run.out


def test_the_doctor_names_a_bad_setting_and_shows_no_secret(alone: Shell) -> None:
    run = alone("doctor", IMAGEQUEUE_LEASE_SECONDS="soon", OPENAI_API_KEY="sk-very-secret")
    assert run.code == 1
    assert re.search(r"^✗ settings: .*IMAGEQUEUE_LEASE_SECONDS", run.out, re.MULTILINE)
    assert "sk-very-secret" not in run.out + run.err
