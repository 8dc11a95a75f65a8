"""`imagequeue mcp`: serves the tools, and prints what clients need to find them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imagequeue.cli.mcp_clients import ClientName
from imagequeue.cli.processes import run_process

KeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File with the API key and nothing else; default: IMAGEQUEUE_API_KEY."),
]

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@app.callback(invoke_without_command=True)
def mcp(
    context: typer.Context,
    http: Annotated[bool, typer.Option("--http", help="Serve many clients over HTTP instead of one on stdio.")] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: IMAGEQUEUE_MCP_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on; default: IMAGEQUEUE_MCP_PORT.")
    ] = None,
    key_file: KeyFile = None,
) -> None:
    """Serve the MCP tools for AI agents, or print a client's configuration.

    On stdin and stdout until stdin ends, or over HTTP at /mcp. With
    IMAGEQUEUE_API_URL it goes through that API, with IMAGEQUEUE_REDIS_URL
    straight to Redis and S3, else to the stack on this machine.

    Examples:
      imagequeue mcp
      imagequeue mcp --http --port 8765
      imagequeue mcp config claude-code
    """
    if context.invoked_subcommand is None:
        run_process("mcp", http=http, host=host, port=port, key_file=key_file)
    elif http or host or port or key_file:
        context.fail(f"Options of {context.invoked_subcommand} come after it: imagequeue mcp config CLIENT --http")


@app.command()
def config(
    client: Annotated[ClientName, typer.Argument(help="The client that it is for.", show_default=False)],
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="URL", help="With --http: the bridge's address; default: the one of the stack on this machine."
        ),
    ] = None,
    http: Annotated[
        bool, typer.Option("--http", help="For a bridge that listens, not one that the client starts.")
    ] = False,
    key_file: KeyFile = None,
) -> None:
    """Print the configuration that connects an MCP client.

    Only the configuration goes to stdout; where to put it is said on stderr.
    The client starts imagequeue-mcp itself, for the queue that this shell uses:
    that of IMAGEQUEUE_API_URL or IMAGEQUEUE_REDIS_URL, else the stack on this
    machine. With --http it calls a running bridge, which touches no files.
    Keys are never written down: the configuration refers to them.

    Examples:
      imagequeue mcp config claude-code > .mcp.json
      imagequeue mcp config claude-desktop
      imagequeue mcp config cursor --http
      imagequeue mcp config vscode --http https://example.com/mcp --key-file key
    """
    from imagequeue.cli import mcp_config  # noqa: PLC0415

    mcp_config.run(client, http=http, url=url, key_file=key_file)
