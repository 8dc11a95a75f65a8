"""The configuration of MCP clients: how each writes a server down, refers to a secret, and where the file is.

Formats as of 2026, by code.claude.com/docs/en/mcp, code.visualstudio.com/docs/copilot/reference/mcp-configuration,
cursor.com/docs/mcp, and for Claude Desktop modelcontextprotocol.io and support.anthropic.com ("Claude Desktop will not
connect to remote servers that are configured directly via claude_desktop_config.json").
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from imagequeue.errors import Misconfigured

NAME: Final = "imagequeue"
KEY_VARIABLE: Final = "IMAGEQUEUE_API_KEY"


class ClientName(StrEnum):
    """The clients that configuration is written for."""

    CLAUDE_CODE = "claude-code"
    CLAUDE_DESKTOP = "claude-desktop"
    CURSOR = "cursor"
    VSCODE = "vscode"


@dataclass(frozen=True)
class StdioServer:
    """A bridge that the client starts."""

    command: tuple[str, ...]  # the program by its absolute path, and its arguments
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: tuple[str, ...] = ()  # variables that the bridge needs besides, and whose values must not be written down


@dataclass(frozen=True)
class HttpServer:
    """A bridge that listens."""

    url: str
    asks_for_key: bool


Server = StdioServer | HttpServer


@dataclass(frozen=True)
class _Format:
    title: str
    file: str
    refer: Callable[[str], str] | None  # to a variable; None where the client knows no such thing
    servers: str = "mcpServers"
    typed: bool = True  # an entry says its transport
    http: bool = True


_FORMATS: Final[Mapping[ClientName, _Format]] = {
    ClientName.CLAUDE_CODE: _Format(
        "Claude Code", ".mcp.json in the project's folder", lambda variable: f"${{{variable}}}"
    ),
    ClientName.CLAUDE_DESKTOP: _Format(
        "Claude Desktop",
        "claude_desktop_config.json (Settings > Developer > Edit Config), and restart it",
        None,
        typed=False,
        http=False,
    ),
    ClientName.CURSOR: _Format(
        "Cursor", "~/.cursor/mcp.json, or .cursor/mcp.json in a project", lambda variable: f"${{env:{variable}}}"
    ),
    ClientName.VSCODE: _Format(
        "VS Code",
        ".vscode/mcp.json in a project, or what the command 'MCP: Open User Configuration' opens",
        lambda variable: f"${{input:{variable.lower()}}}",
        servers="servers",
    ),
}


def configuration(client: ClientName, server: Server) -> dict[str, Any]:
    """The document that the client reads, with references in place of secrets.

    Raises:
        Misconfigured: the client takes no server over HTTP, or cannot refer to a secret.
    """
    form = _FORMATS[client]
    document: dict[str, Any] = {form.servers: {NAME: _entry(form, server)}}
    if client is ClientName.VSCODE and (secrets := secrets_of(server)):
        document["inputs"] = [_input(variable) for variable in secrets]
    return document


def placement(client: ClientName, server: Server) -> list[str]:
    """Where the configuration goes, and what has to be done for its secrets, as lines for a person."""
    form = _FORMATS[client]
    lines = [f"For {form.title}: put it into {form.file}; beside other servers, add only the entry {NAME!r}."]
    if secrets := secrets_of(server):
        names = ", ".join(secrets)
        if client is ClientName.VSCODE:
            lines.append(f"VS Code asks for {names} once and keeps it; the file has no secret in it.")
        else:
            lines.append(f"{form.title} reads {names} from the environment that it is started in; no secret is in it.")
    if client is ClientName.CLAUDE_CODE:
        lines.append(f"Or, for you alone and in every project: {_claude_command(server)}")
    return lines


def secrets_of(server: Server) -> tuple[str, ...]:
    """The variables whose values the client has to provide."""
    if isinstance(server, StdioServer):
        return server.secrets
    return (KEY_VARIABLE,) if server.asks_for_key else ()


def _entry(form: _Format, server: Server) -> dict[str, Any]:
    if isinstance(server, HttpServer):
        return _http_entry(form, server)
    program, *arguments = server.command
    entry: dict[str, Any] = {"type": "stdio"} if form.typed else {}
    entry |= {"command": program, "args": arguments}
    environment = {**server.environment, **{name: _reference(form, name) for name in server.secrets}}
    return entry | ({"env": environment} if environment else {})


def _http_entry(form: _Format, server: HttpServer) -> dict[str, Any]:
    if not form.http:
        raise Misconfigured(
            f"{form.title} reads only servers on stdio from its file: run this without --http, with IMAGEQUEUE_API_URL "
            "set for a queue on another machine. A bridge with a public https address goes into Settings > Connectors."
        )
    entry: dict[str, Any] = {"type": "http", "url": server.url}
    if server.asks_for_key:
        entry["headers"] = {"Authorization": f"Bearer {_reference(form, KEY_VARIABLE)}"}
    return entry


def _reference(form: _Format, variable: str) -> str:
    if form.refer is None:
        way_out = (
            "put the key into a file and name it with --key-file"
            if variable == KEY_VARIABLE
            else "let it go through the API, with IMAGEQUEUE_API_URL"
        )
        raise Misconfigured(f"{form.title} cannot refer to {variable}, and secrets are not written down: {way_out}.")
    return form.refer(variable)


def _input(variable: str) -> dict[str, Any]:
    return {"type": "promptString", "id": variable.lower(), "description": variable, "password": True}


def _claude_command(server: Server) -> str:
    """`claude mcp add …`; it keeps what the shell puts in for a secret in the user's own settings."""
    add = ("claude", "mcp", "add")
    if isinstance(server, HttpServer):
        header = f' --header "Authorization: Bearer ${KEY_VARIABLE}"' if server.asks_for_key else ""
        return shlex.join((*add, "--transport", "http", "--scope", "user", NAME, server.url)) + header
    public = (part for name, value in server.environment.items() for part in ("-e", f"{name}={value}"))
    secret = "".join(f' -e "{name}=${name}"' for name in server.secrets)
    return f"{shlex.join((*add, NAME, '--scope', 'user', *public))}{secret} -- {shlex.join(server.command)}"
