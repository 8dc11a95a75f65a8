"""The whole stack with real Redis, S3 and processes; stand-ins take the place of api, worker, mcp and sandbox."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from up_kit import Starter, Up, all_gone, get, is_gone, redis_of, s3_of

from imagequeue.local_stack import read_state, running_pid
from sandbox.stack import down
from sandbox.stack.ports import HOST, choose_port, is_free
from sandbox.stack.processes import wait_until
from sandbox.stack.state import load_remembered


@pytest.fixture
def start_up(tmp_path: Path) -> Generator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.end()


@pytest.fixture(scope="module")
def shared_starter(tmp_path_factory: pytest.TempPathFactory) -> Generator[Starter]:
    starter = Starter(tmp_path_factory.mktemp("shared-stack"))
    yield starter
    starter.end()


@pytest.fixture(scope="module")
def shared_up(shared_starter: Starter) -> Generator[Up]:
    """A stack for tests that leave it running; each service may be killed once. It stops in order whatever they did."""
    up = shared_starter()
    up.wait_ready()
    yield up
    assert up.stop() == 0


def test_the_ready_file_appears_only_once_every_service_is_healthy(start_up: Starter, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    up = start_up(STAND_IN_GATE=str(gate))
    assert wait_until(lambda: "/readyz" in up.traced("asked"), 40), up.printed()
    assert not up.ready_file.exists()
    assert read_state(up.data) is None
    assert running_pid(up.data) == up.process.pid
    gate.touch()
    ready = up.wait_ready()
    stack = read_state(up.data)
    assert stack is not None
    assert ready == vars(stack)
    assert ready["pid"] == up.process.pid
    assert ready["sandbox"] is True
    assert up.stop() == 0
    assert not up.ready_file.exists()
    assert read_state(up.data) is None


def test_it_prints_each_service_and_then_what_to_do_next(shared_up: Up) -> None:
    up, ready = shared_up, shared_up.wait_ready()
    assert wait_until(lambda: "Ctrl-C" in up.printed(), 5)
    printed = up.printed()
    services = re.findall(r"^  (\w+) .*log: (.*)$", printed, re.MULTILINE)
    names = ["redis", "s3", "sandbox", "worker", "api", "mcp"]
    assert services == [(name, str(up.data / "logs" / f"{name}.log")) for name in names]
    told = ("PAINTED", 'imagequeue generate "a lighthouse at dawn"', "imagequeue mcp config claude-code")
    for part in (ready["api_url"] + "/docs", ready["mcp_url"], ready["key_file"], str(up.data), *told):
        assert part in printed
    assert "REAL" not in printed


def test_with_an_openai_key_there_is_no_sandbox_and_it_says_that_images_cost_money(start_up: Starter) -> None:
    up = start_up(OPENAI_API_KEY="sk-users-own", OPENAI_BASE_URL="https://eu.example/v1")
    ready = up.wait_ready()
    environment = get(ready["api_url"], "/environment")
    assert (environment["OPENAI_API_KEY"], environment["OPENAI_BASE_URL"]) == ("sk-users-own", "https://eu.example/v1")
    assert (ready["sandbox"], ready["openai_base_url"]) == (False, "https://eu.example/v1")
    assert up.traced("sandbox.pid") == []
    assert wait_until(lambda: "Ctrl-C" in up.printed(), 5)
    assert "REAL" in up.printed()
    assert "sk-users-own" not in up.printed()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopping_leaves_no_process(start_up: Starter, number: signal.Signals) -> None:
    up = start_up(workers=2)
    up.wait_ready()
    pids = up.pids()
    assert len(pids) >= 9  # redis, s3, sandbox, api, mcp, two workers and a child of each
    began = time.monotonic()
    assert up.stop(number) == 0
    assert time.monotonic() - began < 10
    assert all_gone(pids)


def test_a_ctrl_c_in_the_terminal_reaches_the_services_as_an_orderly_stop(start_up: Starter) -> None:
    up = start_up()
    up.wait_ready()
    os.killpg(up.process.pid, signal.SIGINT)  # what a terminal does
    assert up.process.wait(20) == 0
    assert up.traced("worker.signals") == up.traced("api.signals") == up.traced("mcp.signals") == ["SIGTERM"]


def test_data_and_addresses_are_the_same_after_a_restart(start_up: Starter) -> None:
    first = start_up()
    before = first.wait_ready()
    keys = load_remembered(first.data)
    with closing(redis_of(before)) as redis, closing(s3_of(before, first.data)) as s3:
        redis.set("kept", "yes")
        s3.put_object(Bucket=before["bucket"], Key="kept", Body=b"pixels")
    first.stop()

    second = start_up()
    after = second.wait_ready()
    assert after | {"pid": 0} == before | {"pid": 0}
    assert load_remembered(second.data) == keys
    with closing(redis_of(after)) as redis, closing(s3_of(after, second.data)) as s3:
        assert redis.get("kept") == "yes"
        assert s3.get_object(Bucket=after["bucket"], Key="kept")["Body"].read() == b"pixels"


def test_a_second_stack_on_the_folder_is_refused_and_the_first_goes_on(shared_starter: Starter, shared_up: Up) -> None:
    first, ready = shared_up, shared_up.wait_ready()
    second = shared_starter()
    assert second.process.wait(20) == 1
    assert f"pid {first.process.pid}" in second.printed()
    assert ready["api_url"] in second.printed()
    assert read_state(first.data) is not None


def test_when_the_supervisor_is_killed_its_services_end_and_the_next_start_has_the_same_addresses(
    start_up: Starter,
) -> None:
    first = start_up()
    before = first.wait_ready()
    services = first.pids() - {int(pid) for pid in first.traced("worker-child.pid")}
    try:
        first.stop(signal.SIGKILL)
        assert read_state(first.data) is None
        after = start_up().wait_ready()  # at once: it has to wait for their end itself
        assert after | {"pid": 0} == before | {"pid": 0}
        assert all_gone(services, seconds=5)
    finally:
        # The stand-in worker's child is not the supervisor's, and does not see its end.
        for pid in (*services, *map(int, first.traced("worker-child.pid"))):
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("option", ["--port", "--mcp-port"])
def test_a_taken_port_is_a_clear_error_and_nothing_is_left_running(start_up: Starter, option: str) -> None:
    port = choose_port()
    with closing(socket.create_server((HOST, port))):
        up = start_up(option, str(port))
        assert up.process.wait(20) == 2
        assert f"Port {port} is taken" in up.printed()
        assert f"choose another with {option}." in up.printed()
    assert running_pid(up.data) is None
    assert up.traced("worker.pid") == []


def test_the_ports_that_were_asked_for_are_used_and_remembered(start_up: Starter) -> None:
    port, mcp_port = choose_port(), choose_port()
    first = start_up("--port", str(port), "--mcp-port", str(mcp_port))
    ready = first.wait_ready()
    assert (ready["api_url"], ready["mcp_url"]) == (f"http://{HOST}:{port}", f"http://{HOST}:{mcp_port}/mcp")
    first.stop()
    again = start_up().wait_ready()
    assert (again["api_url"], again["mcp_url"]) == (ready["api_url"], ready["mcp_url"])


@pytest.mark.parametrize("name", ["sandbox", "worker", "api", "mcp"])
def test_a_service_that_dies_at_start_ends_all_with_the_end_of_its_log(start_up: Starter, name: str) -> None:
    up = start_up(STAND_IN_DIES=name)
    assert up.process.wait(40) == 1
    printed = up.printed()
    assert f"{name} ended with exit code 3" in printed
    assert f"{name} cannot go on" in printed
    assert "line 17\n" in printed
    assert "line 16\n" not in printed  # 15 lines
    assert "Traceback" not in printed
    assert not up.ready_file.exists()
    assert all(is_free(port) for port in load_remembered(up.data).ports.values())


def test_a_stop_while_starting_leaves_no_process(start_up: Starter, tmp_path: Path) -> None:
    up = start_up(STAND_IN_GATE=str(tmp_path / "never"))
    assert wait_until(lambda: "/readyz" in up.traced("asked"), 40), up.printed()
    pids = up.pids()
    assert up.stop() == 0
    assert all_gone(pids)
    assert "imagequeue is ready" not in up.printed()


@pytest.mark.parametrize("name", ["worker", "api", "mcp", "sandbox"])
def test_a_service_that_crashes_is_started_again(shared_up: Up, name: str) -> None:
    up = shared_up
    crashed = int(up.traced(f"{name}.pid")[0])
    left = {int(pid) for pid in up.traced("worker-child.pid")} if name == "worker" else set[int]()
    os.kill(crashed, signal.SIGKILL)
    assert wait_until(lambda: len(up.traced(f"{name}.pid")) == 2, 15), up.printed()
    assert is_gone(crashed)
    assert all_gone(left, seconds=5)  # its own children went with it
    assert f"{name} was ended by SIGKILL; starting it again in 0.5 s" in up.printed()


def test_redis_is_started_again_with_its_data(shared_up: Up) -> None:
    up, ready = shared_up, shared_up.wait_ready()
    with closing(redis_of(ready)) as redis:
        redis.set("kept", "yes")
        os.kill(redis.info("server")["process_id"], signal.SIGKILL)
        assert wait_until(lambda: "redis was ended by SIGKILL" in up.printed(), 10)

        def kept() -> bool:
            with suppress(Exception):
                return redis.get("kept") == "yes"
            return False

        assert wait_until(kept, 15)


def test_a_worker_that_ignores_sigterm_is_killed_in_time_and_its_jobs_are_spoken_of(start_up: Starter) -> None:
    up = start_up(STAND_IN_STUBBORN="worker")
    up.wait_ready()
    pids = up.pids()
    began = time.monotonic()
    assert up.stop() == 0
    assert time.monotonic() - began < 10
    assert all_gone(pids)
    assert "worker did not stop in 5.5 s and was killed: its jobs in flight are recovered" in up.printed()


def test_a_stack_whose_output_nobody_reads_any_more_runs_on_and_stops_in_order(start_up: Starter) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    up = start_up(stdout=writer)
    os.close(writer)
    up.wait_ready()
    pids = up.pids()
    assert up.stop() == 0
    assert all_gone(pids)


def test_down_stops_the_running_stack(start_up: Starter, capsys: pytest.CaptureFixture[str]) -> None:
    up = start_up()
    up.wait_ready()
    pids = up.pids()
    assert down.main(data=up.data) == 0
    assert f"pid {up.process.pid}" in capsys.readouterr().out
    assert up.process.wait(5) == 0
    assert all_gone(pids)


def test_down_without_a_stack_says_so_and_succeeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert down.main(data=tmp_path) == 0
    assert "No stack runs" in capsys.readouterr().out


def test_down_never_signals_a_process_that_got_the_pid_of_a_dead_supervisor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stack.lock").write_text(str(os.getpid()))
    assert down.main(data=tmp_path) == 0
    assert "No stack runs" in capsys.readouterr().out


def test_the_last_runs_logs_are_set_aside(start_up: Starter) -> None:
    first = start_up(STAND_IN_DIES="api")
    first.process.wait(40)
    start_up().wait_ready()
    assert "api cannot go on" in (first.data / "logs" / "api.log.1").read_text()
    assert "api cannot go on" not in (first.data / "logs" / "api.log").read_text()
