"""docker-compose.yml and the Dockerfile as a test can use them without a container engine: rendered and read."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import yaml

ROOT: Final = Path(__file__).parents[2]
IMAGE_ENTRYPOINTS: Final[Mapping[str, tuple[str, ...]]] = {"redis": (), "rclone/rclone": ("rclone",)}
"""What the public images run their command with; redis's own entrypoint runs the command itself."""

SECRETS: Final = {
    "OPENAI_API_KEY": "sk-test-0123456789",
    "AWS_ACCESS_KEY_ID": "compose-access-key",
    "AWS_SECRET_ACCESS_KEY": "compose-secret-key",
    "IMAGEQUEUE_KEY_PEPPER": "compose-pepper-0123456789",
}
MONITOR_LOGIN: Final = {"FLOWER_BASIC_AUTH": "operator:compose-password"}
CONTAINER_PORTS: Final[Mapping[str, int]] = {"redis": 6379, "s3": 9000, "api": 8080, "mcp": 8765, "flower": 5555}
STARTING_ORDER: Final = ("redis", "s3", "flower", "worker", "api", "mcp")

_VARIABLE: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>\w+)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^{}]*))?\})"
)


class MissingVariable(Exception):
    """The operator has to set a variable; the text is the one that the file has for that."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$` as docker compose does.

    An empty variable counts as unset, and unlike there an unset one without a default is an error.

    Raises:
        MissingVariable: a variable is unset and has no default.
    """

    def value_of(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name = match["plain"] or match["name"]
        if value := variables.get(name):
            return value
        if match["kind"] == "-":
            return match["text"]
        raise MissingVariable(f"{name}: {match['text'] or 'it has no default'}")

    return _VARIABLE.sub(value_of, text)


@dataclass(frozen=True)
class ComposeService:
    """A service of the rendered file; `command` is the whole command line, the image's entrypoint included."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    may_get: frozenset[str]  # the variables of `environment`, and those that are passed on when they are set
    healthcheck: tuple[str, ...]
    image: str
    depends_on: tuple[str, ...]
    volumes: Mapping[str, str]  # container folder → volume
    ports: Mapping[int, str]  # container port → address and port on the machine
    stop_grace_seconds: int
    profiles: tuple[str, ...]  # only started with one of these; without any, always


def render(variables: Mapping[str, str]) -> dict[str, ComposeService]:
    """Read the services as docker compose would with these variables in the shell or in `.env`.

    Raises:
        MissingVariable: a variable is unset and has no default.
    """
    document = _interpolated(yaml.safe_load((ROOT / "docker-compose.yml").read_text()), variables)
    services = {name: _service(name, entry, variables) for name, entry in document["services"].items()}
    declared = set(document["volumes"])
    assert {volume for service in services.values() for volume in service.volumes.values()} == declared
    return services


def dockerfile(stage: int = -1) -> list[tuple[str, str]]:
    """The instructions of one stage of the Dockerfile, the last one by default, without comments."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = []
    for line in whole.splitlines():
        instruction, _, arguments = line.partition(" ")
        if instruction == "FROM":
            stages.append([])
        stages[-1].append((instruction, arguments.strip()))
    return stages[stage]


def image_environment() -> dict[str, str]:
    """The variables that the image sets."""
    words = [word for instruction, arguments in dockerfile() if instruction == "ENV" for word in shlex.split(arguments)]
    return dict(word.split("=", 1) for word in words)


def image_entrypoint() -> tuple[str, ...]:
    """What the image runs its command with."""
    (entrypoint,) = (arguments for instruction, arguments in dockerfile() if instruction == "ENTRYPOINT")
    return tuple(json.loads(entrypoint))


def _interpolated(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, str):
        return interpolate(node, variables)
    if isinstance(node, dict):
        entries = cast("dict[str, Any]", node)
        return {key: _interpolated(value, variables) for key, value in entries.items()}
    if isinstance(node, list):
        return [_interpolated(entry, variables) for entry in cast("list[Any]", node)]
    return node


def _service(name: str, entry: Mapping[str, Any], variables: Mapping[str, str]) -> ComposeService:
    built = "build" in entry
    entrypoint = image_entrypoint() if built else IMAGE_ENTRYPOINTS[entry["image"].partition(":")[0]]
    form, *check = entry["healthcheck"]["test"]
    assert form == "CMD"
    assert {need["condition"] for need in entry.get("depends_on", {}).values()} <= {"service_healthy"}
    # A variable without a value is passed on when it is set.
    given = {key: variables.get(key) if value is None else value for key, value in entry.get("environment", {}).items()}
    image = image_environment() if built else {}
    assert all(isinstance(value, str | None) for value in given.values()), f"{name}: quote the values of environment"
    return ComposeService(
        name=name,
        command=(*entrypoint, *entry["command"]),
        environment=image | {key: text for key, text in given.items() if text is not None},
        may_get=frozenset({**given, **image}),
        healthcheck=tuple(check),
        image=entry["image"],
        depends_on=tuple(entry.get("depends_on", {})),
        volumes={folder: volume for volume, _, folder in (text.partition(":") for text in entry.get("volumes", []))},
        ports={int(port): address for address, _, port in (text.rpartition(":") for text in entry.get("ports", []))},
        stop_grace_seconds=int(str(entry.get("stop_grace_period", "10s")).removesuffix("s")),
        profiles=tuple(entry.get("profiles", ())),
    )
