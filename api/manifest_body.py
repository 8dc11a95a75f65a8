"""A manifest and its options from a request's body, whatever its form; on the disk while it is read."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from flask import request

from api.context import the_owner, the_queue, the_settings
from api.request_body import MAX_DRAINED_BYTES, BodyTooLarge, UnsupportedMediaType
from api.uploaded_files import FIELD, MULTIPART, receive_body, receive_form
from imagequeue.errors import InvalidRequest, Violation
from imagequeue.manifests.entries import Entry
from imagequeue.manifests.orders import OWN_FIELDS, ManifestOrder, json_order, scan_body
from imagequeue.manifests.reading import LineLimits, ManifestKind, read_entries
from imagequeue.manifests.templates import Template
from imagequeue.requests import parse_request, shown

JSON: Final = "application/json"
KINDS: Final[Mapping[str, ManifestKind]] = {
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
    "text/csv": "csv",
}
"""Of bodies that are nothing but a manifest."""
_MAX_PARTS: Final = 32
_ENVELOPE_BYTES: Final = 1024 * 1024
"""What fields, boundaries and part headers may add to a file."""


@contextmanager
def receive_manifest(query: Mapping[str, object], *, or_job: bool = False) -> Generator[ManifestOrder]:
    """The manifest that the current request brings; its lines are to be read within the block.

    Its body is JSONL, CSV or a JSON array; an object as ManifestBody describes it, with options; or a form with the
    manifest as `file` and options. Those of the query are added, and those of a form are texts.

    Args:
        query: options that were given in the query, and `template`.
        or_job: an object may also be the request of one job.

    Raises:
        UnsupportedMediaType: the body is declared as something else, or is compressed.
        BodyTooLarge: it has more than the setting allows.
        MalformedJson, InvalidRequest: it is no such body, or it and the query give the same.
        ManifestNotFound: what it names is not there.
        BadRequest: it was cut off, or is malformed.
    """
    if encoding := request.headers.get("Content-Encoding"):
        raise UnsupportedMediaType(f"The body must not be encoded; given Content-Encoding: {encoding}.")
    with the_queue().inputs.folder() as folder, ExitStack() as opened:
        reader = _Reader(folder, opened)
        if request.mimetype == MULTIPART:
            yield reader.form(query)
        elif request.mimetype == JSON:
            yield reader.json_body(query, or_job=or_job)
        elif kind := KINDS.get(request.mimetype):
            yield _with_template(query, reader.manifest(reader.body(), kind))
        else:
            given = request.mimetype or "no Content-Type"
            types = ", ".join((JSON, *KINDS, MULTIPART))
            raise UnsupportedMediaType(f"The body must be sent as one of {types}; given {given}.")


def receive_manifest_file(folder: Path) -> Path:
    """The current request's body as a file in `folder`.

    Raises:
        UnsupportedMediaType: it is compressed.
        BodyTooLarge: it has more than the setting allows.
        BadRequest: it was cut off.
    """
    if encoding := request.headers.get("Content-Encoding"):
        raise UnsupportedMediaType(f"The body must not be encoded; given Content-Encoding: {encoding}.")
    path = folder / "manifest"
    _refuse_absurd_length()
    receive_body(path, the_settings().max_manifest_bytes, _too_large)
    return path


class _Reader:
    """Reads the current request's body by way of files in a folder."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self._folder = folder
        self._opened = opened
        plain = the_settings().max_body_bytes
        self._limits = LineLimits(plain, max(plain, the_settings().max_edit_body_bytes))

    def body(self) -> BinaryIO:
        return self._open(receive_manifest_file(self._folder))

    def manifest(self, stream: BinaryIO, kind: ManifestKind) -> Iterator[Entry]:
        return read_entries(stream, kind, self._limits)

    def json_body(self, query: Mapping[str, object], *, or_job: bool) -> ManifestOrder:
        stream = self.body()
        if _begins_as_array(stream):
            return _with_template(query, self.manifest(stream, "json"))
        body = scan_body(stream, self._limits)
        if or_job and not body.names_lines:
            parse_request(body.fields)  # its errors are those of a job
            return ManifestOrder(query, [Entry(1, body.fields)])
        order = json_order(body, stream, self._limits, self._fetched)
        return ManifestOrder(_merged(query, order.options), order.entries, order.template)

    def form(self, query: Mapping[str, object]) -> ManifestOrder:
        _refuse_absurd_length()
        most = the_settings().max_manifest_bytes
        texts, files = receive_form(self._folder, most + _ENVELOPE_BYTES, _MAX_PARTS, _too_large)
        if [name for name, _ in files] != [FIELD]:
            given = ", ".join(shown(name) for name, _ in files) or "no file"
            raise _refusal(FIELD, "the form must have the manifest as one file", given, f'name="{FIELD}"')
        names = [name for name, _ in texts]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise _refusal(shown(twice), "may be given once", "two values for one name", "one value")
        file = files[0][1]
        stream = self._open(file.path)
        entries = self.manifest(stream, KINDS.get(file.declared_type or "") or _kind_of(stream))
        return _with_template(_merged(query, dict(texts)), entries)

    def _fetched(self, url: str) -> Iterator[Entry]:
        path = self._folder / "fetched"
        kind = the_queue().manifests.uploads.fetch(url, path, owner=the_owner())
        return self.manifest(self._open(path), kind)

    def _open(self, path: Path) -> BinaryIO:
        return self._opened.enter_context(path.open("rb"))


def _with_template(options: Mapping[str, object], entries: Iterator[Entry]) -> ManifestOrder:
    """What stands beside a manifest, not in it; a template is a prompt, or an object as JSON."""
    if own := next((name for name in OWN_FIELDS if name in options and name != "template"), None):
        raise _refusal(own, "does not go with a manifest that is sent itself", own, "template")
    given = options.get("template")
    template = Template.parse(_object_in(given) or given) if isinstance(given, str) else None
    return ManifestOrder({name: value for name, value in options.items() if name != "template"}, entries, template)


def _object_in(text: str) -> dict[str, object] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _merged(query: Mapping[str, object], body: Mapping[str, object]) -> dict[str, object]:
    if twice := next((name for name in query if name in body), None):
        raise _refusal(twice, "may be given once", "one value in the query and one in the body", "one of them")
    return {**query, **body}


def _begins_as_array(stream: BinaryIO) -> bool:
    return _kind_of(stream) == "json"


def _kind_of(stream: BinaryIO) -> ManifestKind:
    """By its first character, which neither JSON nor a table could have otherwise."""
    start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    stream.seek(0)
    return "json" if start == b"[" else "jsonl" if start == b"{" else "csv"


def _refuse_absurd_length() -> None:
    if (request.content_length or 0) > the_settings().max_manifest_bytes + MAX_DRAINED_BYTES:
        raise _too_large(f"the body has {request.content_length:,}")  # reading on would help nobody


def _too_large(found: str) -> BodyTooLarge:
    limit = the_settings().max_manifest_bytes
    return BodyTooLarge(
        f"A manifest may have {limit:,} bytes; {found}. Bring images with POST /v1/uploads, and name "
        "them by upload:<sha256>."
    )


def _refusal(field: str, rule: str, given: str, example: str) -> InvalidRequest:
    return InvalidRequest([Violation(field, rule, given, example)])
