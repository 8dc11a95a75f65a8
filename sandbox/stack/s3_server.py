"""A real S3 server over a folder: `rclone serve s3`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sandbox.stack.errors import ProgramMissing
from sandbox.stack.ports import HOST, is_free
from sandbox.stack.processes import Service, start_healthy, stop
from sandbox.stack.state import load_remembered, open_folder, remembered_port, service_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_s3 import S3Client

BUCKET = "imagequeue"
REGION = "us-east-1"


@dataclass(frozen=True)
class RunningS3:
    """An S3 server that answers, with its bucket."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it; the objects stay."""
        stop(self.process, seconds=5)


def start_s3(data: Path) -> RunningS3:
    """Start an S3 server over `data/s3` and wait until its bucket is there.

    Started again on the same folder it has the same objects and keys, and the same port when that is still free.
    On Linux it ends with the thread that started it.

    Raises:
        StackError: rclone is not installed, does not start, or already serves the folder.
    """
    folder = open_folder(data)
    keys = load_remembered(folder)
    port = remembered_port(folder, "s3")
    process = start_healthy(s3_service(folder, port))
    return RunningS3(s3_endpoint(port), keys.s3_access_key, keys.s3_secret_key, BUCKET, process)


def s3_endpoint(port: int) -> str:
    """Return the endpoint URL for S3 clients."""
    return f"http://{HOST}:{port}"


def s3_service(data: Path, port: int) -> Service:
    """Describe an S3 server on `port` over `data/s3` that takes only the remembered keys."""
    home = data / "rclone"
    config = home / "rclone.conf"
    home.mkdir(exist_ok=True)
    config.touch()
    (data / "s3").mkdir(exist_ok=True)
    keys = load_remembered(data)
    return Service(
        name="s3",
        command=(
            *(str(find_rclone()), "serve", "s3", str(data / "s3"), "--addr", f"{HOST}:{port}"),
            *("--config", str(config), "--cache-dir", str(home / "cache")),
        ),
        environment={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            # Not as --auth-key: every user of the machine can read a command line.
            "RCLONE_AUTH_KEY": f'"{keys.s3_access_key},{keys.s3_secret_key}"',
        },
        log=data / "logs" / "s3.log",
        healthy=lambda: _has_bucket(port, keys.s3_access_key, keys.s3_secret_key),
        stage=0,
        address=s3_endpoint(port),
        lock=service_lock(data, "s3"),
    )


def find_rclone() -> Path:
    """Return the rclone installed beside this Python, else the one on PATH, which may be too old to serve S3.

    Raises:
        ProgramMissing: there is neither.
    """
    beside = Path(sys.executable).with_name("rclone")
    if beside.exists():
        return beside
    if on_path := shutil.which("rclone"):
        return Path(on_path)
    raise ProgramMissing("There is no rclone on this machine: run: pip install 'imagequeue[local]'")


def _has_bucket(port: int, access_key: str, secret_key: str) -> bool:
    """Whether the server answers to the keys; the first time it does, the bucket is made."""
    if is_free(port):  # much cheaper than a client that finds nobody listening
        return False
    with closing(_client(s3_endpoint(port), access_key, secret_key)) as client:
        try:
            names = [bucket.get("Name") for bucket in client.list_buckets()["Buckets"]]
            if BUCKET not in names:
                client.create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError):
            return False
    return True


def _client(endpoint: str, access_key: str, secret_key: str) -> S3Client:
    # The user's own profile, config files and proxies are for their own S3, and must not reach this one.
    own = botocore.session.Session(
        session_vars={"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
    )
    session = boto3.Session(access_key, secret_key, region_name=REGION, botocore_session=own)
    config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}, proxies={})
    make = cast("Callable[..., S3Client]", cast("Any", session).client)  # typed for S3 alone
    return make("s3", endpoint_url=endpoint, config=config)
