"""S3: images, previews and sidecars. One client for all threads; S3's errors become ours here."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from imagequeue.errors import ImageNotFound, Misconfigured, ObjectsUnavailable
from imagequeue.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MANIFEST_PREFIX: Final = "manifests/"
"""Of the keys of manifests that clients have put here, each below a folder of its owner."""
CACHE_FOREVER: Final = "private, max-age=31536000, immutable"
"""Keys are never written twice with other bytes."""
_CONNECT_TIMEOUT_SECONDS: Final = 5
_READ_TIMEOUT_SECONDS: Final = 60
_POOL: Final = 64
_CHUNK_BYTES: Final = 256 * 1024
_PAGE: Final = 1000
"""S3 lists no more objects at once."""
_REFUSED: Final = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch")
_MISSING: Final = ("404", "NoSuchKey", "NotFound")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's key, and when it was last written (ms, S3's clock)."""

    key: str
    modified_at: int


class ObjectStore:
    """One bucket. Every method raises ObjectsUnavailable when S3 does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket
        self._client = _client(settings, settings.s3_endpoint)
        public = settings.s3_public_endpoint
        self._public_client = _client(settings, public) if public else self._client

    def ensure_bucket(self) -> None:
        """Create the bucket when it is missing.

        Raises:
            Misconfigured: the keys are refused.
        """
        try:
            self.ping()
        except ImageNotFound:
            with _translated(self._bucket):
                self._client.create_bucket(Bucket=self._bucket)

    def ping(self) -> None:
        """Ask for the bucket.

        Raises:
            ImageNotFound: the bucket does not exist.
            Misconfigured: the keys are refused.
        """
        with _translated(self._bucket):
            self._client.head_bucket(Bucket=self._bucket)

    def put_file(self, key: str, path: Path, *, content_type: str, filename: str) -> None:
        """Upload a file byte for byte."""
        with path.open("rb") as body, _translated(key):
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                CacheControl=CACHE_FOREVER,
                ContentDisposition=_disposition(filename),
            )

    def put_bytes(self, key: str, body: bytes, *, content_type: str, filename: str) -> None:
        """Upload bytes."""
        with _translated(key):
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                CacheControl=CACHE_FOREVER,
                ContentDisposition=_disposition(filename),
            )

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the bucket; S3 does it, byte for byte, and its bytes pass nobody else.

        Raises:
            ImageNotFound: there is none.
        """
        with _translated(key):
            self._client.copy_object(Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": key})

    def get_bytes(self, key: str) -> bytes:
        """Read an object.

        Raises:
            ImageNotFound: there is none.
        """
        with _translated(key):
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def open(self, key: str) -> Iterator[bytes]:
        """Read an object piece by piece; it is asked for at once. Taking a piece may raise ObjectsUnavailable.

        Raises:
            ImageNotFound: there is none.
        """
        with _translated(key):
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]

        def chunks() -> Iterator[bytes]:
            with closing(body), _translated(key):
                yield from body.iter_chunks(_CHUNK_BYTES)

        return chunks()

    def find_bytes(self, key: str) -> bytes | None:
        """Read an object; None when there is none."""
        try:
            return self.get_bytes(key)
        except ImageNotFound:
            return None

    def get_dated(self, key: str) -> tuple[bytes, int]:
        """Read an object, and when it was last written (ms, S3's clock).

        Raises:
            ImageNotFound: there is none.
        """
        with _translated(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            return answer["Body"].read(), _milliseconds(answer["LastModified"])

    def modified(self, key: str) -> int:
        """When an object was last written (ms, S3's clock).

        Raises:
            ImageNotFound: there is none.
        """
        with _translated(key):
            return _milliseconds(self._client.head_object(Bucket=self._bucket, Key=key)["LastModified"])

    def listed(self, prefix: str, after: str = "", limit: int = _PAGE) -> list[StoredObject]:
        """Up to `limit` (at most 1,000) objects whose keys begin with `prefix`, by key, from behind `after` on."""
        with _translated(prefix):
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, StartAfter=after, MaxKeys=limit)
        return [
            StoredObject(found["Key"], _milliseconds(found["LastModified"]))  # pyright: ignore[reportTypedDictNotRequiredAccess]
            for found in page.get("Contents", ())
        ]

    def delete_all(self, prefix: str, keep: str | None = None) -> None:
        """Remove the objects whose keys begin with `prefix`, but for `keep`."""
        after: str | None = ""
        while after is not None:
            found = self.listed(prefix, after)
            for stored in found:
                if stored.key != keep:
                    self.delete(stored.key)
            after = found[-1].key if len(found) == _PAGE else None

    def size(self, key: str) -> int:
        """How many bytes an object has.

        Raises:
            ImageNotFound: there is none.
        """
        with _translated(key):
            return self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]

    def get_file(self, key: str, path: Path) -> None:
        """Read an object into a file, piece by piece.

        Raises:
            ImageNotFound: there is none; no file is left then.
        """
        with _translated(key):
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            with closing(body), path.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    file.write(chunk)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with _translated(key):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def presigned_url(self, key: str, *, content_type: str, filename: str, seconds: int) -> str:
        """A URL that gives the object to anyone for `seconds`, with its type and file name."""
        # Some S3 servers forget these headers: the URL carries them.
        parameters = {
            "Bucket": self._bucket,
            "Key": key,
            "ResponseContentType": content_type,
            "ResponseContentDisposition": _disposition(filename),
            "ResponseCacheControl": CACHE_FOREVER,
        }
        return self._public_client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)

    def presigned_put(self, key: str, *, content_type: str, size_bytes: int, seconds: int) -> str:
        """A URL that lets anyone put an object of this type and size for `seconds`; both headers must be sent."""
        parameters = {"Bucket": self._bucket, "Key": key, "ContentType": content_type, "ContentLength": size_bytes}
        return self._public_client.generate_presigned_url("put_object", Params=parameters, ExpiresIn=seconds)


def job_folder(job_id: str) -> str:
    """Prefix of the keys of all that belongs to a job: a folder for each attempt, and the record."""
    return f"images/{job_id}/"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _disposition(filename: str) -> str:
    return f"inline; filename*=UTF-8''{quote(filename)}"


def _client(settings: Settings, endpoint: str | None) -> S3Client:
    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    config = Config(
        signature_version="s3v4",
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        read_timeout=_READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=_POOL,
        # Servers other than AWS know nothing of the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if endpoint else {},
    )
    try:
        return boto3.client(  # pyright: ignore[reportUnknownMemberType]
            "s3",
            endpoint_url=endpoint,
            region_name=settings.aws_region,
            aws_access_key_id=key.get_secret_value() if key else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=config,
        )
    except ValueError as error:
        raise Misconfigured(f"IMAGEQUEUE_S3_ENDPOINT is not a URL: {error}") from error


@contextmanager
def _translated(key: str) -> Generator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _MISSING or code == "NoSuchBucket":
            raise ImageNotFound(f"S3 has no {key!r}.") from error
        if code in _REFUSED:
            raise Misconfigured("S3 refuses AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for this bucket.") from error
        raise ObjectsUnavailable(f"S3 does not serve {key!r}: {error}") from error
    except BotoCoreError as error:
        raise ObjectsUnavailable(f"S3 does not answer: {error}") from error
