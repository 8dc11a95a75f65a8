"""What an administrator may ask for: the models of requests about API keys."""

from __future__ import annotations

import re
from typing import Annotated, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from imagequeue.api_keys import DEFAULT_SCOPES, KeyLimits, Scope
from imagequeue.sizes import broken

_OWNER = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def _printable(value: str) -> str:
    if value.isprintable():
        return value
    raise broken("name", "must have printable characters only", "studio")


def _owner(value: str) -> str:
    if _OWNER.fullmatch(value):
        return value
    raise broken("owner", "must have 1 to 64 characters of A-Z a-z 0-9 _ . -", "team-a")


def _set(value: object) -> object:
    if isinstance(value, list):
        return frozenset(map(str, cast("list[object]", value)))
    raise broken("scopes", "must be a list", '["submit", "read"]')


class _KeyRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeyRequest(_KeyRequest):
    """A new key."""

    name: Annotated[
        str,
        AfterValidator(_printable),
        Field(min_length=1, max_length=100, description="For people: who or what uses it.", examples=["studio"]),
    ]
    owner: Annotated[str, AfterValidator(_owner)] | None = Field(
        default=None,
        description="Whose records it makes and sees: keys with one owner share them. By default it owns its own.",
        examples=["team-a"],
    )
    scopes: Annotated[frozenset[Scope], BeforeValidator(_set, json_schema_input_type=list[Scope])] = Field(
        default=DEFAULT_SCOPES,
        min_length=1,
        description="What it may do: `submit` jobs, `read` them, `admin` keys.",
        examples=[["submit", "read"]],
        json_schema_extra={"default": ["submit", "read"]},  # a set's order would change from process to process
    )
    limits: KeyLimits = Field(default=KeyLimits(), description="How much it may use.")


class KeyLimitsRequest(_KeyRequest):
    """New limits."""

    limits: KeyLimits = Field(description="How much the key may use from now on.")


class RotateRequest(_KeyRequest):
    """A new secret."""

    grace_seconds: Annotated[float, Field(ge=0, le=30 * 86_400, allow_inf_nan=False)] = Field(
        default=0, description="How long the old secret stays good, in seconds.", examples=[3600]
    )
