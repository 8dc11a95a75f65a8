"""API keys as clients see them."""

from __future__ import annotations

from pydantic import Field

from imagequeue.api_keys import ApiKey, Caller, KeyLimits, Scope
from imagequeue.key_service import IssuedKey
from imagequeue.store.api_keys import Spending
from imagequeue.views import Timestamp, View, utc


class KeyUse(View):
    """What a key has used."""

    jobs_in_flight: int = Field(description="Jobs that have not ended.")
    reserved_usd: float = Field(description="Held back for them, at the upper end of their estimates.")
    today_usd: float = Field(description="Spent this day (UTC).")
    this_month_usd: float = Field(description="Spent this month (UTC).")


class KeyView(View):
    """An API key."""

    id: str = Field(examples=["key_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"])
    name: str
    owner: str = Field(description="Whose records it makes and sees.")
    scopes: tuple[Scope, ...]
    limits: KeyLimits
    use: KeyUse
    hint: str = Field(description="The last four characters of its secret.")
    created_at: Timestamp
    rotated_at: Timestamp | None
    revoked_at: Timestamp | None


class IssuedKeyView(View):
    """A key with its secret, which is shown this once."""

    key: KeyView
    secret: str = Field(description="Keep it: it is kept nowhere else.", examples=["iq_…"])


class KeyList(View):
    """All keys, oldest first."""

    keys: tuple[KeyView, ...]


class CallerView(View):
    """Who asks."""

    owner: str
    scopes: tuple[Scope, ...]
    key: KeyView | None = Field(description="Null while no key is needed: none was ever made.")


def key_view(key: ApiKey, used: Spending) -> KeyView:
    """Show a key."""
    return KeyView(
        **key.model_dump(include={"id", "name", "owner", "hint"}),
        scopes=tuple(sorted(key.scopes)),
        limits=key.limits,
        use=KeyUse(
            jobs_in_flight=used.jobs_in_flight,
            reserved_usd=used.reserved_usd,
            today_usd=used.today_usd,
            this_month_usd=used.this_month_usd,
        ),
        created_at=utc(key.created_at),
        rotated_at=None if key.rotated_at is None else utc(key.rotated_at),
        revoked_at=None if key.revoked_at is None else utc(key.revoked_at),
    )


def issued_view(issued: IssuedKey, used: Spending) -> IssuedKeyView:
    """Show a key with its secret."""
    return IssuedKeyView(key=key_view(issued.key, used), secret=issued.secret)


def caller_view(caller: Caller, key: KeyView | None) -> CallerView:
    """Show who asks."""
    return CallerView(owner=caller.owner, scopes=tuple(sorted(caller.scopes)), key=key)
