"""What `imagequeue up` and `down` print."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from rich.console import Console

from imagequeue.local_stack import LocalStack, default_data_dir
from sandbox.stack.errors import ServiceFailed, StackError


class _QuietConsole(Console):
    """Goes on without a reader: the stack must stop in order even when its terminal is gone."""

    def on_broken_pipe(self) -> None:
        """Print nothing more; what is still buffered must not fail when the process exits."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Terminal:
    """Prints lines as they are: never wrapped, so that paths and URLs can be copied."""

    def __init__(self) -> None:
        """Print on standard output."""
        self._console = _QuietConsole()

    def say(self, text: str, style: str = "") -> None:
        """Print a line."""
        try:
            self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        except OSError:
            self._console.on_broken_pipe()

    def show_error(self, error: StackError) -> None:
        """Print why the stack does not run, with the end of the log of the service that failed."""
        self.say(str(error), "bold red")
        if isinstance(error, ServiceFailed) and error.log_tail:
            self.say("The end of its log:", "red")
            self.say(error.log_tail)

    def show_ready(self, stack: LocalStack, data: Path) -> None:
        """Print where everything is, what images cost, and what to do next."""
        self.say("imagequeue is ready", "bold green")
        self.say(f"  API       {stack.api_url}")
        self.say(f"  docs      {stack.api_url}/docs")
        self.say(f"  MCP       {stack.mcp_url}")
        self.say(f"  API key   in {stack.key_file}: the imagequeue commands here use it by themselves")
        self.say(f"  data      {data}")
        if stack.sandbox:
            self.say("  images    PAINTED by the sandbox: free, no model. Set OPENAI_API_KEY for real ones.", "cyan")
        else:
            self.say(f"  images    REAL: made by {stack.openai_base_url}, and each costs money.", "bold yellow")
        elsewhere = "" if data == default_data_dir() else f"IMAGEQUEUE_DATA_DIR={shlex.quote(str(data))} "
        self.say(f'Next, in another terminal:  {elsewhere}imagequeue generate "a lighthouse at dawn"')
        self.say(f"For an AI agent:            {elsewhere}imagequeue mcp config claude-code")
        self.say("                            (or claude-desktop, cursor, vscode)")
        self.say("Ctrl-C stops everything; jobs, sessions and images are kept.")
