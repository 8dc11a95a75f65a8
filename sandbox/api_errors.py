"""Refusals in OpenAI's form: a status, and `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Final, Self

from starlette.responses import JSONResponse

INVALID_REQUEST: Final = "invalid_request_error"


class ApiError(Exception):
    """A request that is refused.

    Args:
        message: what is wrong, for people.
        status: the HTTP status, 400 to 599.
        code: what is wrong, for programs; None where OpenAI gives none.
        param: the parameter that is wrong, None when it is no single one.
        kind: OpenAI's error `type`.
        details: further members of the error object.
        headers: headers of the answer.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        kind: str = INVALID_REQUEST,
        details: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.headers = dict(headers or {})
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code, **(details or {})}}

    def renamed(self, param: str | None) -> Self:
        """The same refusal, with the parameter's name as the client knows it."""
        other = copy.copy(self)
        other.param = param
        other.body = {"error": {**self.body["error"], "param": param}}
        return other

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """The answer that tells the client, with these headers beside the refusal's own."""
        return JSONResponse(self.body, self.status, {**self.headers, **(headers or {})})
