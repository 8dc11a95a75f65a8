"""Who asks: the API key of a request, and what it may do."""

from __future__ import annotations

import re
from typing import Final

from flask import Flask, g, request

from api.context import the_caller, the_queue
from imagequeue.api_keys import Scope
from imagequeue.errors import Forbidden, Unauthorized

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, section 2.1."""
_PROTECTED: Final = "/v1/"
_READING: Final = ("GET", "HEAD", "OPTIONS")
_ADMIN: Final = "/v1/keys"
_OWN_KEY: Final = "/v1/keys/current"


def register_auth(app: Flask) -> None:
    """Ask for a key wherever there are records; health, documents and explanations are for everybody."""
    app.before_request(_authenticate)


def _authenticate() -> None:
    if not request.path.startswith(_PROTECTED):
        return
    g.caller = the_queue().keys.caller(_secret())
    needed = _needed_scope()
    if needed and needed not in the_caller().scopes:
        raise Forbidden(f"This API key may not do this: it lacks the scope '{needed}'.")


def _secret() -> str | None:
    given = request.headers.get("Authorization")
    if given is None:
        return None
    scheme, _, secret = given.partition(" ")
    if scheme.lower() != "bearer" or not _TOKEN.fullmatch(secret.strip()):
        raise Unauthorized("The Authorization header must be 'Bearer iq_…'.")
    return secret.strip()


def _needed_scope() -> Scope | None:
    if request.path == _OWN_KEY:
        return None
    if request.path == _ADMIN or request.path.startswith(f"{_ADMIN}/"):
        return Scope.ADMIN
    return Scope.READ if request.method in _READING else Scope.SUBMIT
