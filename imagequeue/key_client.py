"""API keys over HTTP: the part of the client that administrators use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from imagequeue.api_answers import parsed
from imagequeue.api_connection import ApiConnection
from imagequeue.key_views import CallerView, IssuedKeyView, KeyList, KeyView


class KeyClient:
    """Make, list, limit, rotate, revoke. Every method raises ApiUnreachable and ApiProblem as the client's do."""

    def __init__(self, api: ApiConnection) -> None:
        self._api = api

    def current(self) -> CallerView:
        """Who this client is."""
        return parsed(CallerView, self._api.send("GET", "/v1/keys/current"))

    def create(self, request: Mapping[str, Any]) -> IssuedKeyView:
        """Make a key; `request` has the fields of KeyRequest."""
        return parsed(IssuedKeyView, self._post("/v1/keys", request))

    def all(self) -> KeyList:
        """All keys."""
        return parsed(KeyList, self._api.send("GET", "/v1/keys"))

    def get(self, key_id: str) -> KeyView:
        """Look at a key."""
        return parsed(KeyView, self._api.send("GET", _path(key_id)))

    def limit(self, key_id: str, limits: Mapping[str, Any]) -> KeyView:
        """Replace a key's limits."""
        return parsed(KeyView, self._post(f"{_path(key_id)}/limits", {"limits": limits}))

    def rotate(self, key_id: str, *, grace_seconds: float = 0) -> IssuedKeyView:
        """Give a key a new secret."""
        return parsed(IssuedKeyView, self._post(f"{_path(key_id)}/rotate", {"grace_seconds": grace_seconds}))

    def revoke(self, key_id: str) -> KeyView:
        """Refuse a key from now on."""
        return parsed(KeyView, self._api.send("POST", f"{_path(key_id)}/revoke"))

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._api.send("POST", path, content=json.dumps(dict(body), allow_nan=False))


def _path(key_id: str) -> str:
    return f"/v1/keys/{quote(key_id, safe='').replace('.', '%2E')}"
