"""What an administrator may ask for: the models of requests about API keys."""

from __future__ import annotations

import re
from typing import Annotated, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from imagequeue.api_keys import DEFAULT_SCOPES, KeyLimits, Scope
from imagequeue.sizes import broken

_OWNER = r"^[A-Za-z0-9_.-]{1,64}$"
# No control characters, and none that turn the direction of the text or take no room.
_NAME = r"^[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+$"


def _printable(value: str) -> str:
    if re.fullmatch(_NAME, value):
        return value
    raise broken("name", "must have printable characters only", "studio")


def _owner(value: str) -> str:
    if re.fullmatch(_OWNER, value):
        return value
    raise broken("owner", "must have 1 to 64 characters of A-Z a-z 0-9 _ . -", "team-a")


def _set(value: object) -> object:
    if not isinstance(value, list):
        raise broken("scopes", "must be a list", '["submit", "read"]')
    scopes = list(map(str, cast("list[object]", value)))
    if len(set(scopes)) < len(scopes):
        raise broken("scopes", "may name each scope once", '["submit", "read"]')
    return frozenset(scopes)


_Scopes = Annotated[list[Scope], Field(min_length=1, json_schema_extra={"uniqueItems": True})]


class _KeyRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeyRequest(_KeyRequest):
    """A new key."""

    name: Annotated[
        str,
        AfterValidator(_printable),
        Field(
            min_length=1,
            max_length=100,
            description="For people: who or what uses it.",
            examples=["studio"],
            json_schema_extra={"pattern": _NAME},
        ),
    ]
    owner: Annotated[str, AfterValidator(_owner)] | None = Field(
        default=None,
        description="Whose records it makes and sees: keys with one owner share them. By default it owns its own.",
        examples=["team-a"],
        json_schema_extra={"pattern": _OWNER},
    )
    scopes: Annotated[frozenset[Scope], BeforeValidator(_set, json_schema_input_type=_Scopes)] = Field(
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

    grace_seconds: Annotated[float, Field(ge=0, le=30 * 86_400, allow_inf_nan=False, strict=True)] = Field(
        default=0, description="How long the old secret stays good, in seconds.", examples=[3600]
    )
