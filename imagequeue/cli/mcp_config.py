"""`imagequeue mcp config`: finds out which bridge a client is to use from here, and prints its configuration."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from imagequeue.cli.api_address import read_key_file
from imagequeue.cli.exits import say
from imagequeue.cli.mcp_clients import (
    KEY_VARIABLE,
    ClientName,
    HttpServer,
    StdioServer,
    configuration,
    placement,
)
from imagequeue.cli.output import print_line
from imagequeue.errors import Misconfigured
from imagequeue.local_stack import LocalStack, default_data_dir, read_state

DEFAULT_URL: Final = "http://127.0.0.1:8765/mcp"
_ALWAYS: Final = (
    KEY_VARIABLE,
    "IMAGEQUEUE_MCP_WAIT_SECONDS",
    "IMAGEQUEUE_MCP_ROOTS",
    "IMAGEQUEUE_LOG_LEVEL",
    "IMAGEQUEUE_LOG_FORMAT",
    "GPT_IMAGE_2_OUTPUT_DIR",
)
_S3: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")
_SECRETS: Final = (KEY_VARIABLE, "IMAGEQUEUE_KEY_PEPPER", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def run(client: ClientName, *, http: bool, url: str | None, key_file: Path | None) -> None:
    """Print the configuration on stdout, and on stderr where it goes.

    Raises:
        Misconfigured: a bad URL or key file, no bridge is installed here, or the client cannot be told so.
    """
    if key_file is not None:
        read_key_file(key_file)  # a client would say only that its server ended
    listens = http or url is not None
    stack = read_state(default_data_dir()) if listens and url is None else None
    if stack and key_file is None and not os.environ.get(KEY_VARIABLE):
        key_file = Path(stack.key_file)
    server = _http_server(url, key_file, stack) if listens else _stdio_server(os.environ, key_file)
    document = configuration(client, server)
    print_line(json.dumps(document, indent=2, ensure_ascii=False))
    for line in placement(client, server):
        say(line)
    if listens and key_file is not None:
        file = shlex.quote(str(key_file))
        say(
            f"The key: cat {file}" if client is ClientName.VSCODE else f'The key: export {KEY_VARIABLE}="$(cat {file})"'
        )


def _http_server(url: str | None, key_file: Path | None, stack: LocalStack | None) -> HttpServer:
    asks = key_file is not None or bool(os.environ.get(KEY_VARIABLE))
    if url is not None:
        return HttpServer(_checked(url), asks)
    if stack is None:
        say(f"No stack runs on this machine; {DEFAULT_URL} is where it usually listens.")
    return HttpServer(stack.mcp_url if stack else DEFAULT_URL, asks)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    else:
        if parts.username or parts.password:
            raise Misconfigured("URL: it has a password in it; give the key with --key-file or IMAGEQUEUE_API_KEY.")
        if fits and parts.path in ("", "/"):
            return parts._replace(path="/mcp").geturl()
    if not fits:
        raise Misconfigured(f"URL: {url!r} is no address of a bridge; it looks like {DEFAULT_URL}.")
    return url


def _stdio_server(environment: Mapping[str, str], key_file: Path | None) -> StdioServer:
    """The bridge of this installation, with what leads it to the queue that this shell uses."""
    given = _needed({name: value for name, value in environment.items() if value})
    if "IMAGEQUEUE_DATA_DIR" in given:
        given["IMAGEQUEUE_DATA_DIR"] = str(default_data_dir().absolute())  # a client starts it in another folder
    arguments: tuple[str, ...] = ()
    if key_file is not None:
        given.pop(KEY_VARIABLE, None)
        arguments = ("--key-file", str(key_file.expanduser().absolute()))
    secrets = tuple(name for name, value in given.items() if _is_secret(name, value))
    public = {name: value for name, value in given.items() if name not in secrets}
    return StdioServer((str(_bridge_program()), *arguments), public, secrets)


def _needed(given: Mapping[str, str]) -> dict[str, str]:
    """The variables that lead the bridge where it goes from this shell, by the order in which it looks at them."""
    if "IMAGEQUEUE_API_URL" in given:
        names = ("IMAGEQUEUE_API_URL", *_ALWAYS)
    elif "IMAGEQUEUE_REDIS_URL" in given:
        names = (*(name for name in given if name.startswith("IMAGEQUEUE_")), *_S3, *_ALWAYS)
    else:
        names = ("IMAGEQUEUE_DATA_DIR", *_ALWAYS)
    return {name: given[name] for name in sorted(set(names) & set(given))}


def _is_secret(name: str, value: str) -> bool:
    return name in _SECRETS or (name.endswith("_URL") and _has_password(value))


def _has_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.password is not None or "password=" in parts.query  # redis-py takes both
    except ValueError:
        return True  # not to be read, so not to be shown


def _bridge_program() -> Path:
    beside = Path(sys.executable).absolute().with_name("imagequeue-mcp")
    if beside.exists():
        return beside
    if on_path := shutil.which("imagequeue-mcp"):
        return Path(on_path).absolute()
    raise Misconfigured(f"There is no {beside}: install imagequeue into this Python's environment.")
