"""The client for the API."""

from __future__ import annotations

from imagequeue.cli.api_address import api_key, api_url
from imagequeue.client import Client


def connect(timeout_seconds: float = 30.0) -> Client:
    """A client for that API, with its key if there is one.

    Raises:
        Misconfigured: the address is not a URL.
    """
    return Client(api_url(), api_key(), timeout_seconds=timeout_seconds)
