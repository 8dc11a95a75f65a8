"""Manifests that clients put into S3 before they are used: unchecked, each owner's under a prefix of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from imagequeue.errors import ImageNotFound, InvalidRequest, NotFound, Violation
from imagequeue.manifests.reading import ManifestKind
from imagequeue.objects import MANIFEST_PREFIX, ObjectStore
from imagequeue.requests import shown

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(jsonl|json|csv)")
_KINDS: Final[dict[str, ManifestKind]] = {"jsonl": "jsonl", "json": "json", "csv": "csv"}
_TYPES: Final[dict[ManifestKind, str]] = {"jsonl": "application/jsonl", "json": "application/json", "csv": "text/csv"}


class ManifestNotFound(NotFound):
    """No manifest was put into S3 under this name."""

    code = "manifest_not_found"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"No manifest {url!r} of yours. PUT /v1/manifests/<name> keeps one, and its answer says what to name it by."
        )


class ManifestUploads:
    """Keeps and fetches such manifests. Every method may raise ObjectsUnavailable."""

    def __init__(self, objects: ObjectStore, bucket: str, most_bytes: int) -> None:
        self._objects = objects
        self._bucket = bucket
        self._most_bytes = most_bytes

    def put(self, name: str, path: Path, *, owner: str) -> str:
        """Keep a file under a name, in the place of what is there; gives the s3:// URL to name it by.

        Raises:
            InvalidRequest: the name cannot be used.
        """
        kind = kind_of(name)
        key = _key(owner, name)
        self._objects.put_file(key, path, content_type=_TYPES[kind], filename=name)
        return f"s3://{self._bucket}/{key}"

    def fetch(self, url: str, path: Path, *, owner: str) -> ManifestKind:
        """Write the manifest at an s3:// URL into a file.

        Raises:
            ManifestNotFound: there is none, or it is not the owner's.
            InvalidRequest: it is too large.
        """
        name = url.removeprefix(f"s3://{self._bucket}/{_folder(owner)}")
        match = _NAME.fullmatch(name)
        if name == url or match is None:
            raise ManifestNotFound(shown(url))
        key = _key(owner, name)
        try:
            size = self._objects.size(key)  # whoever has the bucket's keys can put anything there
            if size > self._most_bytes:
                rule = f"may have {self._most_bytes:,} bytes"
                raise InvalidRequest([Violation("manifest", rule, f"{size:,}", "two manifests")])
            self._objects.get_file(key, path)
        except ImageNotFound as error:
            raise ManifestNotFound(shown(url)) from error
        return _KINDS[match[1]]


def kind_of(name: str) -> ManifestKind:
    """How the manifest of this name is written.

    Raises:
        InvalidRequest: the name cannot be used.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        rule = "must have letters, digits, '.', '_' or '-', at most 106 in all, and end with .jsonl, .json or .csv"
        raise InvalidRequest([Violation("name", rule, shown(name), "spring-2026.jsonl")])
    return _KINDS[match[1]]


def _key(owner: str, name: str) -> str:
    return f"{_folder(owner)}{name}"


def _folder(owner: str) -> str:
    # S3 servers over a file system would take `..` for the folder above.
    return f"{MANIFEST_PREFIX}{owner if owner.strip('.') else owner.replace('.', '%2E')}/"
