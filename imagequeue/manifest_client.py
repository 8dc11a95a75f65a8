"""Manifests and estimates over HTTP: a part of the clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2

from imagequeue.api_async_connection import AsyncApiConnection
from imagequeue.api_calls import Call, answering, given, path_of
from imagequeue.api_connection import ApiConnection
from imagequeue.errors import InvalidRequest, Violation
from imagequeue.estimate_views import EstimateView, StoredManifest
from imagequeue.requests import shown

Result = TypeVar("Result")
Manifest = Path | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A file (.jsonl, .json with an array, .csv); requests; or a body as POST /v1/estimates takes it."""
_TYPES: Final[Mapping[str, str]] = {
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/csv",
}
_SECONDS: Final = 120.0
"""A manifest of 50,000 lines takes some seconds to read, more on a busy server."""


class ManifestClient:
    """Price manifests, keep them. Every method raises ApiUnreachable and ApiProblem as the client's do.

    Either may be repeated without harm, as a submit with an Idempotency-Key; where nothing listens they fail at once.
    """

    def __init__(self, api: ApiConnection) -> None:
        self._api = api

    def estimate(self, manifest: Manifest, **options: Any) -> EstimateView:
        """What the lines would cost and take; nothing is stored or spent. It is repeated as by `Client.submit`.

        Args:
            manifest: the lines.
            options: fields of BatchOptions, and `template`.

        Raises:
            InvalidRequest: the file's name does not tell what it is.
            ApiProblem: code `invalid_manifest`: `lines` has what is wrong.
            OSError: the file cannot be read.
        """
        return self._api.submit(manifest_call("/v1/estimates", answering(EstimateView), manifest, options))

    def put(self, file: Path, name: str | None = None) -> StoredManifest:
        """Keep a manifest under a name, by default the file's, to be used later by its s3:// URL."""
        return self._api.submit(_put(file, name))


class AsyncManifestClient:
    """`ManifestClient` for asyncio."""

    def __init__(self, api: AsyncApiConnection) -> None:
        self._api = api

    async def estimate(self, manifest: Manifest, **options: Any) -> EstimateView:
        """See ManifestClient."""
        return await self._api.submit(manifest_call("/v1/estimates", answering(EstimateView), manifest, options))

    async def put(self, file: Path, name: str | None = None) -> StoredManifest:
        """See ManifestClient."""
        return await self._api.submit(_put(file, name))


def manifest_type(file: Path) -> str:
    """The media type of a manifest, by its file's name.

    Raises:
        InvalidRequest: the name does not tell.
    """
    media_type = _TYPES.get(file.suffix.lower())
    if media_type is None:
        rule = f"must have a name that ends with one of {', '.join(_TYPES)}"
        raise InvalidRequest([Violation("manifest", rule, shown(file.name), "lines.jsonl")])
    return media_type


def manifest_call(
    path: str,
    read: Callable[[httpx2.Response], Result],
    manifest: Manifest,
    options: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Call[Result]:
    """A POST of a manifest with options.

    Raises:
        InvalidRequest: the file's name does not tell what it is.
    """
    headers = headers or {}
    if isinstance(manifest, Path):
        texts = {name: _text(value) for name, value in options.items() if value is not None}
        return Call(
            "POST",
            path,
            read,
            headers=headers,
            params=given(**texts),
            file=manifest,
            file_type=manifest_type(manifest),
            wait_seconds=_SECONDS,
        )
    body = dict(manifest) if isinstance(manifest, Mapping) else {"lines": [dict(line) for line in manifest]}
    return Call("POST", path, read, headers=headers, body={**body, **options}, wait_seconds=_SECONDS)


def _put(file: Path, name: str | None) -> Call[StoredManifest]:
    path = path_of("manifests", name or file.name)
    media_type = "application/octet-stream"
    return Call("PUT", path, answering(StoredManifest), file=file, file_type=media_type, wait_seconds=_SECONDS)


def _text(value: Any) -> str:
    """An option as a query has it."""
    return value if isinstance(value, str) else json.dumps(value)
