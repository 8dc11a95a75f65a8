"""Records of what has ended, as objects in S3: written so that Redis may forget them."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from imagequeue.errors import ObjectsUnavailable
from imagequeue.jobs import Frozen
from imagequeue.objects import ObjectStore

Record = TypeVar("Record", bound=Frozen)


def find_record(objects: ObjectStore, key: str, kind: type[Record], about: str) -> Record | None:
    """Read the record of `about`, an id; None when there is none.

    Raises:
        ObjectsUnavailable: S3 does not answer, or a newer version of imagequeue wrote it.
    """
    body = objects.find_bytes(key)
    try:
        return kind.model_validate_json(body) if body else None
    except ValidationError as error:
        raise ObjectsUnavailable(f"The record of {about} in S3 cannot be read by this version.") from error


def put_record(objects: ObjectStore, key: str, record: Frozen, about: str) -> None:
    """Write the record of `about`, an id, and read it back.

    Raises:
        ObjectsUnavailable: S3 does not answer, or gives something else back.
    """
    body = record.model_dump_json().encode()
    objects.put_bytes(key, body, content_type="application/json", filename=f"{about}.json")
    if objects.find_bytes(key) != body:
        raise ObjectsUnavailable(f"S3 does not give back what was stored as {key!r}.")
