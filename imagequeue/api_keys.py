"""API keys: who may do what, and how much of it. Immutable records; the secret itself is nowhere but with its owner."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from ulid import ULID

from imagequeue.request_fields import no_boolean

LOCAL_OWNER: Final = "local"
"""Owner of everything that is made without a key: on the machine's own loopback, or straight on Redis."""
SECRET_PREFIX: Final = "iq_"
_SECRET_BYTES: Final = 30
"""240 random bits: nothing to guess, so a fast hash is enough."""
_SECRET: Final = re.compile(r"iq_[A-Za-z0-9_-]{40}")
_KEY_ID: Final = re.compile(r"key_[0-7][0-9A-HJKMNP-TV-Z]{25}")
_PEPPER_CHECK: Final = "imagequeue: which pepper is this?"

Dollars = Annotated[float, Field(ge=0.000001, le=1_000_000, allow_inf_nan=False), BeforeValidator(no_boolean)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class Scope(StrEnum):
    """What a key may do. Each is given on its own; `admin` alone reads and submits nothing."""

    SUBMIT = "submit"  # make, change and stop its owner's jobs and sessions
    READ = "read"  # look at them and fetch their images
    ADMIN = "admin"  # make, list and revoke keys


ALL_SCOPES: Final = frozenset(Scope)
DEFAULT_SCOPES: Final = frozenset({Scope.SUBMIT, Scope.READ})


class KeyLimits(BaseModel):
    """How much one key may use; None: no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jobs_per_minute: Count | None = Field(
        default=None,
        description="Jobs a minute: up to so many at once after a rest, then evenly spaced.",
        examples=[60],
    )
    jobs_in_flight: Count | None = Field(default=None, description="Jobs that have not ended.", examples=[20])
    daily_budget_usd: Dollars | None = Field(
        strict=True, default=None, description="Dollars a day (UTC).", examples=[20]
    )
    monthly_budget_usd: Dollars | None = Field(
        strict=True, default=None, description="Dollars a month (UTC).", examples=[300]
    )


class ApiKey(BaseModel):
    """A key as the store holds it. Times are milliseconds since the epoch, of Redis's clock."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    owner: str
    scopes: frozenset[Scope]
    limits: KeyLimits = KeyLimits()
    hint: str  # the secret's last four characters
    created_at: int
    rotated_at: int | None = None
    revoked_at: int | None = None


class Caller(BaseModel):
    """Who asks, once that is known. `key_id` None: nobody was asked for a key."""

    model_config = ConfigDict(frozen=True)

    owner: str
    key_id: str | None
    scopes: frozenset[Scope]


LOCAL_CALLER: Final = Caller(owner=LOCAL_OWNER, key_id=None, scopes=ALL_SCOPES)


def new_key_id() -> str:
    """`key_` and 26 ULID characters; ids sort by time."""
    return f"key_{ULID()}"


def new_secret() -> str:
    """What the owner of a key keeps: `iq_` and 40 characters."""
    return f"{SECRET_PREFIX}{secrets.token_urlsafe(_SECRET_BYTES)}"


def is_secret(text: str) -> bool:
    """Whether `text` has the form of a key's secret."""
    return _SECRET.fullmatch(text) is not None


def is_key_id(text: str) -> bool:
    """Whether `text` has the form of a key's id."""
    return _KEY_ID.fullmatch(text) is not None


def digest(secret: str, pepper: str) -> str:
    """What is kept of a secret: HMAC-SHA256 under the pepper, hexadecimal. Redis alone is not enough to forge one."""
    return hmac.new(pepper.encode(), secret.encode(), hashlib.sha256).hexdigest()


def pepper_check(pepper: str) -> str:
    """Tells two peppers apart without telling either."""
    return digest(_PEPPER_CHECK, pepper)
