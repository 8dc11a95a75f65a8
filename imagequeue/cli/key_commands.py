"""What `imagequeue keys …` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from imagequeue.cli.api_address import api_key
from imagequeue.cli.connection import connect
from imagequeue.cli.exits import say
from imagequeue.cli.output import dollars, local_time, one_line, print_json, print_line, print_table
from imagequeue.errors import Misconfigured
from imagequeue.key_views import IssuedKeyView, KeyView

_COLUMNS: Final = ("ID", "name", "owner", "scopes", "in flight", "today", "month", "state", "made")


def limits(
    jobs_per_minute: int | None, jobs_in_flight: int | None, daily: float | None, monthly: float | None
) -> dict[str, Any]:
    """The limits that were named, as the API takes them."""
    named = {
        "jobs_per_minute": jobs_per_minute,
        "jobs_in_flight": jobs_in_flight,
        "daily_budget_usd": daily,
        "monthly_budget_usd": monthly,
    }
    return {name: value for name, value in named.items() if value is not None}


def create(
    name: str, owner: str | None, scopes: Sequence[str] | None, limited: dict[str, Any], *, as_json: bool
) -> None:
    """Make a key; its secret goes to standard output."""
    named: dict[str, Any] = {"owner": owner, "scopes": list(scopes) if scopes else None}
    request = {"name": name, "limits": limited, **{key: value for key, value in named.items() if value is not None}}
    with connect() as client:
        _print_issued(client.keys.create(request), as_json=as_json)


def secret() -> None:
    """Print the key in use.

    Raises:
        Misconfigured: there is none.
    """
    key = api_key()
    if key is None:
        raise Misconfigured("No API key is known here: set IMAGEQUEUE_API_KEY, or start a stack with: imagequeue up")
    print_line(key)


def list_keys(*, as_json: bool) -> None:
    """Print all keys."""
    with connect() as client:
        keys = client.keys.all()
    if as_json:
        print_json(keys)
        return
    print_table(_COLUMNS, [_row(key) for key in keys.keys], long=("name", "owner"))


def limit(key_id: str, limited: dict[str, Any]) -> None:
    """Replace a key's limits."""
    with connect() as client:
        key = client.keys.limit(key_id, limited)
    told = ", ".join(f"{name} {value:g}" for name, value in key.limits.model_dump(exclude_none=True).items())
    say(f"{key.id}: {told or 'no limits'}")


def rotate(key_id: str, grace_hours: float, *, as_json: bool) -> None:
    """Give a key a new secret, which goes to standard output."""
    with connect() as client:
        _print_issued(client.keys.rotate(key_id, grace_seconds=grace_hours * 3600), as_json=as_json)


def revoke(key_id: str) -> None:
    """Refuse a key from now on."""
    with connect() as client:
        key = client.keys.revoke(key_id)
    say(f"{key.id} ({key.name}) is refused from now on.")


def _print_issued(issued: IssuedKeyView, *, as_json: bool) -> None:
    if as_json:
        print_json(issued)
        return
    say(f"{issued.key.id} ({issued.key.name}). Keep the secret: it is shown this once.")
    print_line(issued.secret)


def _row(key: KeyView) -> list[str]:
    use, most = key.use, key.limits
    flying = f"{use.jobs_in_flight}" + (f" of {most.jobs_in_flight}" if most.jobs_in_flight else "")
    today = dollars(use.today_usd) + (f" of {dollars(most.daily_budget_usd)}" if most.daily_budget_usd else "")
    month = dollars(use.this_month_usd) + (f" of {dollars(most.monthly_budget_usd)}" if most.monthly_budget_usd else "")
    state = "revoked" if key.revoked_at else f"good, …{key.hint}"
    scopes = " ".join(key.scopes)
    return [key.id, one_line(key.name), key.owner, scopes, flying, today, month, state, local_time(key.created_at)]
