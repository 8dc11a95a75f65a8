"""The settings that the doctor checks with: the environment's, completed by the local stack's."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from pydantic import SecretStr

from imagequeue.local_stack import LocalStack, default_data_dir, read_state
from imagequeue.settings import Settings, load_settings

_REMEMBERED_FILE: Final = "remembered.json"
"""Where the local stack keeps its S3 keys, in its data folder, readable by its user only."""


@dataclass(frozen=True)
class Surroundings:
    """What is known from here."""

    settings: Settings
    summary: str  # where the settings come from
    services_known: bool  # whether there is a Redis and an S3 to check from here
    stack: LocalStack | None


def look_around() -> Surroundings:
    """Read the environment and the local stack's state.

    Raises:
        Misconfigured: a variable has a bad value.
    """
    settings = load_settings()
    if os.environ.get("IMAGEQUEUE_REDIS_URL"):
        return Surroundings(settings, "read from the environment", services_known=True, stack=None)
    data = default_data_dir()
    stack = read_state(data)
    if stack is None:
        summary = "the environment has no bad value; no local stack is running"
        return Surroundings(settings, summary, services_known=False, stack=None)
    joined = settings.model_copy(update=_stack_settings(data, stack))
    return Surroundings(joined, f"those of the stack on {data}", services_known=True, stack=stack)


def _stack_settings(data: Path, stack: LocalStack) -> dict[str, object]:
    update: dict[str, object] = {
        "redis_url": stack.redis_url,
        "broker_url": None,
        "s3_endpoint": stack.s3_endpoint,
        "s3_bucket": stack.bucket,
        "openai_base_url": stack.openai_base_url,
    }
    if stack.sandbox:
        update["openai_api_key"] = SecretStr("sandbox")
    keys = _stack_keys(data)
    if keys:
        update["aws_access_key_id"], update["aws_secret_access_key"] = map(SecretStr, keys)
    return update


def _stack_keys(data: Path) -> tuple[str, str] | None:
    try:
        remembered = cast("dict[str, str]", json.loads((data / _REMEMBERED_FILE).read_text()))
        return remembered["s3_access_key"], remembered["s3_secret_key"]
    except (OSError, ValueError, KeyError):
        return None
