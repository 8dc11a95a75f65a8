"""Where the API is, and the client for it."""

from __future__ import annotations

import os

from imagequeue.client import Client
from imagequeue.local_stack import default_data_dir, read_state

DEFAULT_API_URL = "http://127.0.0.1:8080"


def api_url() -> str:
    """`IMAGEQUEUE_API_URL`, else the stack of `imagequeue up` on this machine, else the default port here."""
    if named := os.environ.get("IMAGEQUEUE_API_URL"):
        return named
    stack = read_state(default_data_dir())
    return stack.api_url if stack else DEFAULT_API_URL


def connect(timeout_seconds: float = 30.0) -> Client:
    """A client for that API, with the key of `IMAGEQUEUE_API_KEY` if there is one.

    Raises:
        Misconfigured: the address is not a URL.
    """
    return Client(api_url(), os.environ.get("IMAGEQUEUE_API_KEY") or None, timeout_seconds=timeout_seconds)
