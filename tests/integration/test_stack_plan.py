"""What the stack would start: ports, commands and the environment of each process."""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from imagequeue.settings import load_settings
from sandbox.stack.errors import PortTaken
from sandbox.stack.ports import HOST, choose_port, is_free
from sandbox.stack.processes import Service
from sandbox.stack.services import DEFAULT_PORTS, StackPlan, plan_stack
from sandbox.stack.state import load_remembered, remember_port, remembered_port


def plan(
    data: Path, *, port: int | None = None, mcp_port: int | None = None, workers: int = 1, **user: str
) -> StackPlan:
    return plan_with(data, user, port=port, mcp_port=mcp_port, workers=workers)


def plan_with(
    data: Path, user: dict[str, str], *, port: int | None = None, mcp_port: int | None = None, workers: int = 1
) -> StackPlan:
    return plan_stack(data, port=port, mcp_port=mcp_port, workers=workers, program=("imagequeue",), user=user, pid=1)


def service(planned: StackPlan, name: str) -> Service:
    return next(service for service in planned.services if service.name == name)


def test_services_start_in_the_order_of_their_needs(tmp_path: Path) -> None:
    planned = plan(tmp_path, workers=2)
    assert [service.name for service in planned.services] == [
        *("redis", "s3", "sandbox", "worker-1", "worker-2", "api", "mcp"),
    ]
    assert [service.stage for service in planned.services] == [0, 0, 0, 1, 1, 1, 1]


def test_what_all_services_may_take_to_stop_stays_within_10_seconds(tmp_path: Path) -> None:
    services = plan(tmp_path, workers=3).services
    stages = {service.stage for service in services}
    longest = [max(service.stop_seconds for service in services if service.stage == stage) for stage in stages]
    assert sum(longest) <= 10


@pytest.mark.parametrize("name", ["worker", "api", "mcp", "sandbox"])
def test_the_users_settings_reach_the_processes_and_the_stacks_own_win(tmp_path: Path, name: str) -> None:
    planned = plan(tmp_path, IMAGEQUEUE_LEASE_SECONDS="3", IMAGEQUEUE_REDIS_URL="redis://prod/0", LANG="C.UTF-8")
    environment = service(planned, name).environment
    assert environment["IMAGEQUEUE_LEASE_SECONDS"] == "3"
    assert environment["LANG"] == "C.UTF-8"
    assert environment["IMAGEQUEUE_REDIS_URL"] == planned.stack.redis_url
    assert environment["IMAGEQUEUE_SPOOL_DIR"] == str(tmp_path / "spool")


def test_a_users_own_broker_api_and_s3_account_do_not_reach_the_stack(tmp_path: Path) -> None:
    planned = plan(
        tmp_path,
        IMAGEQUEUE_BROKER_URL="redis://prod/1",
        IMAGEQUEUE_API_URL="https://prod",
        AWS_SESSION_TOKEN="theirs",
        AWS_PROFILE="theirs",
        AWS_ENDPOINT_URL="https://theirs",
        AWS_ACCESS_KEY_ID="theirs",
    )
    environment = service(planned, "worker").environment
    keys = load_remembered(tmp_path)
    assert not {"IMAGEQUEUE_BROKER_URL", "IMAGEQUEUE_API_URL"} & set(environment)
    assert {name: value for name, value in environment.items() if name.startswith("AWS_")} == {
        "AWS_ACCESS_KEY_ID": keys.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": keys.s3_secret_key,
        "AWS_REGION": "us-east-1",
    }


def test_the_processes_settings_come_out_of_the_environment_as_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan(tmp_path)
    for name, value in service(planned, "api").environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.redis_url == planned.stack.redis_url
    assert settings.s3_endpoint == planned.stack.s3_endpoint
    assert settings.s3_bucket == planned.stack.bucket
    assert settings.openai_base_url == planned.stack.openai_base_url
    assert f"http://{settings.api_host}:{settings.api_port}" == planned.stack.api_url
    assert settings.spool_dir == tmp_path / "spool"


def test_servers_that_need_no_openai_key_do_not_get_it(tmp_path: Path) -> None:
    planned = plan(tmp_path, OPENAI_API_KEY="sk-users-own")
    assert service(planned, "worker").environment["OPENAI_API_KEY"] == "sk-users-own"
    for name in ("redis", "s3"):
        assert "OPENAI_API_KEY" not in service(planned, name).environment


def test_an_empty_openai_key_means_the_sandbox(tmp_path: Path) -> None:
    planned = plan(tmp_path, OPENAI_API_KEY="", OPENAI_BASE_URL="https://elsewhere.example/v1")
    assert planned.stack.sandbox
    environment = service(planned, "worker").environment
    assert environment["OPENAI_API_KEY"] == "sandbox"
    assert environment["OPENAI_BASE_URL"] == planned.stack.openai_base_url
    assert planned.stack.openai_base_url.startswith(f"http://{HOST}:")


def test_with_a_real_key_and_no_base_url_the_stack_tells_openais_own(tmp_path: Path) -> None:
    planned = plan(tmp_path, OPENAI_API_KEY="sk-users-own")
    assert planned.stack.openai_base_url == "https://api.openai.com/v1"
    assert "OPENAI_BASE_URL" not in service(planned, "worker").environment


@pytest.mark.parametrize(
    ("user", "wanted"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": "corp.example"}, "corp.example,127.0.0.1,localhost"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_a_users_proxy_is_not_asked_for_this_machines_servers(
    tmp_path: Path, user: dict[str, str], wanted: str
) -> None:
    environment = service(plan_with(tmp_path, user), "worker").environment
    assert environment["no_proxy"] == environment["NO_PROXY"] == wanted


def test_a_remembered_port_that_somebody_took_is_replaced(tmp_path: Path) -> None:
    first = remembered_port(tmp_path, "redis")
    assert remembered_port(tmp_path, "redis") == first
    with closing(socket.create_server((HOST, first))):
        second = remembered_port(tmp_path, "redis")
    assert second != first
    assert remembered_port(tmp_path, "redis") == second


def test_a_damaged_memory_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "remembered.json").write_text('{"ports": ')
    keys = load_remembered(tmp_path)
    assert load_remembered(tmp_path) == keys
    assert len(keys.s3_secret_key) == 40


def test_clients_of_the_bridge_are_told_where_it_listens(tmp_path: Path) -> None:
    port = choose_port()
    planned = plan(tmp_path, mcp_port=port)
    bridge = service(planned, "mcp")
    assert planned.stack.mcp_url == bridge.address == f"http://{HOST}:{port}/mcp"
    assert bridge.command == ("imagequeue", "mcp", "--http", "--host", HOST, "--port", str(port))


def test_a_bridges_default_port_that_is_taken_is_replaced_by_one_that_it_keeps(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        with suppress(OSError):  # somebody else has it
            taken.bind((HOST, DEFAULT_PORTS["mcp"]))
        taken.listen()
        first = plan(tmp_path).stack
    assert f":{DEFAULT_PORTS['mcp']}/" not in first.mcp_url
    assert plan(tmp_path).stack.mcp_url == first.mcp_url


@pytest.mark.parametrize("name", ["api", "mcp"])
def test_api_and_bridge_never_get_the_same_port(tmp_path: Path, name: str) -> None:
    other = {"api": "mcp", "mcp": "api"}[name]
    asked = choose_port()
    remember_port(tmp_path, other, asked)
    given = {"port" if name == "api" else "mcp_port": asked}
    stack = plan_with(tmp_path, {}, **given).stack
    ports = {"api": urlsplit(stack.api_url).port, "mcp": urlsplit(stack.mcp_url).port}
    assert ports[name] == asked
    assert ports[other] != asked
    with pytest.raises(PortTaken, match=f"Port {asked} was asked for twice"):
        plan(tmp_path, port=asked, mcp_port=asked)


@pytest.mark.parametrize("port", [-1, 0, 65_536])
def test_a_port_that_does_not_exist_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(PortTaken, match=f"Port {port} "):
        plan(tmp_path, port=port)


def test_a_preferred_port_is_chosen_only_while_it_is_free() -> None:
    port = choose_port()
    assert choose_port(None, port) == port
    with closing(socket.create_server((HOST, port))):
        assert not is_free(port)
        assert choose_port(port) != port
