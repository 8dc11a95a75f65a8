"""The commands under `imagequeue webhooks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from imagequeue.cli.connection import connect
from imagequeue.cli.exits import say
from imagequeue.cli.output import local_time, one_line, print_json, print_line, print_table
from imagequeue.client import Client
from imagequeue.webhook_views import DeliveryPage, DeliveryView
from imagequeue.webhooks import DeliveryState, EventType

_LARGEST_PAGE = 100
_COLUMNS = ("id", "state", "event", "job", "tries", "last answer", "next", "url")


def list_endpoints(*, as_json: bool) -> None:
    """Print all endpoints."""
    with connect() as client:
        found = client.webhooks.endpoints()
    if as_json:
        print_json(found)
        return
    rows = [
        (one.id, f"disabled: {one.disabled}" if one.disabled else "enabled", " ".join(one.events), one.url)
        for one in found.endpoints
    ]
    if rows:
        print_table(("id", "state", "events", "url"), rows, long={"url"})
    else:
        say("No endpoints yet. Add one: imagequeue webhooks add https://example.com/imagequeue")


def add(events: Sequence[str], url: str, *, as_json: bool) -> None:
    """Add an endpoint, or replace the one of this URL."""
    with connect() as client:
        endpoint = client.webhooks.add_endpoint(url, cast("Sequence[EventType]", events))
    if as_json:
        print_json(endpoint)
        return
    print_line(endpoint.id)
    say(f"{endpoint.url} gets {', '.join(endpoint.events)}. It verifies with: imagequeue webhooks secret")


def remove(endpoint_id: str) -> None:
    """Remove an endpoint."""
    with connect() as client:
        client.webhooks.remove_endpoint(endpoint_id)
    print_line(f"{endpoint_id} is removed.")


def list_deliveries(job_id: str | None, state: str | None, limit: int, *, as_json: bool) -> None:
    """Print the newest deliveries, fetching as many pages as `limit` needs."""
    with connect() as client:
        page = _collect(client, job_id, DeliveryState(state) if state else None, limit)
    if as_json:
        print_json(page)
        return
    rows = [_row(delivery) for delivery in page.deliveries]
    if rows:
        print_table(_COLUMNS, rows, long={"url", "last answer"})
    else:
        say("No such deliveries.")
    if page.next_cursor:
        say(f"There are more; see them with --limit {limit * 2}.")


def redeliver(delivery_id: str, *, as_json: bool) -> None:
    """Send a delivery again."""
    with connect() as client:
        delivery = client.webhooks.redeliver(delivery_id)
    if as_json:
        print_json(delivery)
    else:
        print_line(f"{delivery.id} goes to {delivery.url} again.")


def secret(*, as_json: bool) -> None:
    """Print the secret in use."""
    with connect() as client:
        found = client.webhooks.secret()
    print_json(found) if as_json else print_line(found.secret)


def rotate_secret(*, as_json: bool) -> None:
    """Put a new secret in use and print it."""
    with connect() as client:
        found = client.webhooks.rotate_secret()
    if as_json:
        print_json(found)
        return
    print_line(found.secret)
    for old in found.replaced:
        say(f"Receivers that know an earlier secret can verify until {local_time(old.valid_until)}.")


def _collect(client: Client, job_id: str | None, state: DeliveryState | None, limit: int) -> DeliveryPage:
    page = client.webhooks.deliveries(job_id, state, limit=min(limit, _LARGEST_PAGE))
    found = page.deliveries
    while page.next_cursor and len(found) < limit:
        page = client.webhooks.deliveries(job_id, state, page.next_cursor, min(limit - len(found), _LARGEST_PAGE))
        found += page.deliveries
    return DeliveryPage(deliveries=found, next_cursor=page.next_cursor)


def _row(delivery: DeliveryView) -> tuple[str, ...]:
    last = delivery.attempts[-1] if delivery.attempts else None
    answer = "" if last is None else one_line(last.error or f"{last.status} in {last.ms} ms")
    tries = str(last.number if last else 0)
    due = local_time(delivery.next_attempt_at)
    return (
        delivery.id,
        delivery.state,
        delivery.event,
        delivery.job_id or delivery.batch_id or "",
        tries,
        answer,
        due,
        delivery.url,
    )
