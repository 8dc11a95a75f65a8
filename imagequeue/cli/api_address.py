"""Where the API is, and the key for it. Imported by what must start fast: the client is not."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from imagequeue.errors import Misconfigured
from imagequeue.local_stack import default_data_dir, read_state

DEFAULT_API_URL = "http://127.0.0.1:8080"


def api_url() -> str:
    """`IMAGEQUEUE_API_URL`, else the stack of `imagequeue up` on this machine, else the default port here."""
    if named := os.environ.get("IMAGEQUEUE_API_URL"):
        return named
    stack = read_state(default_data_dir())
    return stack.api_url if stack else DEFAULT_API_URL


def api_key() -> str | None:
    """`IMAGEQUEUE_API_KEY`, else that of the stack on this machine when its API is meant; None without any."""
    if named := named_api_key():
        return named
    stack = read_state(default_data_dir())
    with contextlib.suppress(OSError):
        return Path(stack.key_file).read_text().strip() if stack and stack.api_url == api_url() else None
    return None


def named_api_key() -> str | None:
    """`IMAGEQUEUE_API_KEY`; None when it is not set."""
    return os.environ.get("IMAGEQUEUE_API_KEY") or None


def read_key_file(file: Path) -> str:
    """The API key in a file, without the white space around it.

    Raises:
        Misconfigured: the file cannot be read, or has no key in it.
    """
    try:
        key = file.expanduser().read_text().strip()
    except (OSError, ValueError) as error:
        raise Misconfigured(f"The key file cannot be read: {error}") from error
    if not key or len(key.split()) > 1:
        raise Misconfigured(f"The key file {file} must hold one key and nothing else.")
    return key
