"""Bearer keys: any key passes, none does not."""

from __future__ import annotations

from starlette.requests import Request

from sandbox.api_errors import ApiError


def check_key(request: Request) -> None:
    """Pass a request that carries a key.

    Raises:
        ApiError: 401 `invalid_api_key`.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        message = "You didn't provide an API key. Send one in an Authorization header: 'Authorization: Bearer KEY'."
        raise ApiError(message, status=401, code="invalid_api_key")
