"""Where webhooks may be sent: to public web servers over https, and to the origins that the operator names."""

from __future__ import annotations

import httpx2

from imagequeue.errors import InvalidRequest, Violation
from imagequeue.fetch_rules import Origin, Refuse, Target, judge_url, origin_of
from imagequeue.requests import shown

EXAMPLE_URL = "https://example.com/imagequeue"


def webhook_target(text: str, origins: frozenset[Origin], field: str) -> Target:
    """Judge a webhook's URL by what it says, before any name is looked up.

    Raises:
        InvalidRequest: nothing is ever sent there.
    """
    refuse = refusal(text, field)
    target = judge_url(text, origins, refuse)
    # The body holds prompts, and an address whose query is the receiver's password may be part of the URL.
    if target.url.scheme != "https" and not target.trusted:
        raise refuse("webhooks are sent over https only")
    return target


def refusal(text: str, field: str) -> Refuse:
    """From what is wrong with a webhook's URL to the error."""

    def refuse(problem: str) -> InvalidRequest:
        return InvalidRequest([Violation(field=field, rule=problem, given=shown(text), example=EXAMPLE_URL)])

    return refuse


def receiver_of(url: str) -> str:
    """The server behind a webhook's URL, as `scheme://host:port`: what is asked for at once there is limited."""
    scheme, host, port = origin_of(httpx2.URL(url))
    return f"{scheme}://{host}:{port}"
