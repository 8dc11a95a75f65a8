"""Idempotency-Key: a request that is sent again gets the job of the first time.

The key is recorded in the step that stores the job. There is no time in between, so that requests that come at once get
one job, and none is told that the first is in progress.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Final

from flask import request

from imagequeue.errors import InvalidRequest, Violation
from imagequeue.jobs import Idempotency
from imagequeue.requests import shown

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency(key: str, body: Mapping[str, object]) -> Idempotency:
    """What the current request's key stands for: its method, path and body."""
    canonical = json.dumps([request.method, request.path, body], sort_keys=True)
    return Idempotency(key=_sha256(key), fingerprint=_sha256(canonical))


def checked_idempotency_key(key: str) -> str:
    """The key, if it is one.

    Raises:
        InvalidRequest: it is empty, too long, or not visible ASCII.
    """
    if _KEY.fullmatch(key):
        return key
    raise InvalidRequest(
        [
            Violation(
                field="Idempotency-Key",
                rule="must have 1 to 255 visible ASCII characters, a UUID for example",
                given=shown(key),
                example="7b0c9a52-3f1e-4a6d-9c8b-2e5d7f1a0b34",
            )
        ]
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
