"""`imagequeue up`: the whole stack on this machine, until it is told to stop."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from imagequeue.local_stack import STATE_FILE, LocalStack, default_data_dir
from sandbox.stack.errors import ProgramMissing, StackError
from sandbox.stack.services import StackPlan, plan_stack
from sandbox.stack.signals import SignalWaiter
from sandbox.stack.state import open_folder, stack_lock, wait_for_earlier_servers, write_private_json, write_state
from sandbox.stack.supervisor import Supervisor
from sandbox.stack.terminal import Terminal


def main(*, port: int | None, mcp_port: int | None, data: Path | None, workers: int, ready_file: Path | None) -> int:
    """Run the stack until SIGINT or SIGTERM, and return the exit code.

    Args:
        port: the API's port; None for the one of the last time, else 8080, else any free one.
        mcp_port: the MCP bridge's; None for the one of the last time, else 8765, else any free one.
        data: the data folder; None for the default one.
        workers: how many worker processes, at least 1.
        ready_file: where to write the stack's addresses as JSON once all of it is healthy.

    Returns:
        0 after a stop that was asked for, 1 when something did not start or a stack already runs on the folder,
        2 when a port that was asked for is taken.
    """
    return run(port=port, mcp_port=mcp_port, data=data, workers=workers, ready_file=ready_file, program=None)


def run(
    *,
    port: int | None,
    mcp_port: int | None,
    data: Path | None,
    workers: int,
    ready_file: Path | None,
    program: tuple[str, ...] | None,
) -> int:
    """Do what `main` does, with `program` in place of the `imagequeue` command for api, worker, mcp and sandbox."""
    terminal = Terminal()
    try:
        folder = open_folder(data or default_data_dir())
        with stack_lock(folder):
            wait_for_earlier_servers(folder)
            command = program or (str(_console_script()),)
            plan = plan_stack(
                folder,
                port=port,
                mcp_port=mcp_port,
                workers=workers,
                program=command,
                user=os.environ,
                pid=os.getpid(),
            )
            with SignalWaiter() as signals:
                _supervise(plan, folder, ready_file, signals, terminal)
    except StackError as error:
        terminal.show_error(error)
        return error.exit_code
    return 0


def _supervise(plan: StackPlan, data: Path, ready_file: Path | None, signals: SignalWaiter, terminal: Terminal) -> None:
    """Start, announce, watch; whatever happens, stop again."""
    _set_old_logs_aside(plan)
    _withdraw(data, ready_file)
    supervisor = Supervisor(plan.services, signals, terminal.say)
    try:
        if supervisor.start():
            _announce(plan.stack, data, ready_file)
            terminal.show_ready(plan.stack, data)
            supervisor.watch()
    finally:
        _withdraw(data, ready_file)  # first, so that nobody turns to a stack that is ending
        terminal.say("Stopping …")
        supervisor.stop()
        terminal.say(f"Stopped. Everything is kept in {data}")


def _announce(stack: LocalStack, data: Path, ready_file: Path | None) -> None:
    write_state(data, stack)
    if ready_file is not None:
        try:
            write_private_json(ready_file, asdict(stack))
        except OSError as error:
            raise StackError(f"The ready file cannot be written: {error}") from error


def _withdraw(data: Path, ready_file: Path | None) -> None:
    (data / STATE_FILE).unlink(missing_ok=True)
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)


def _set_old_logs_aside(plan: StackPlan) -> None:
    """Keep the last run's logs as `….log.1`, so that a log's end is always of this run and none grows forever."""
    for service in plan.services:
        with suppress(FileNotFoundError):
            service.log.replace(service.log.with_name(f"{service.log.name}.1"))


def _console_script() -> Path:
    script = Path(sys.executable).with_name("imagequeue")
    if not script.exists():
        raise ProgramMissing(f"There is no {script}: install imagequeue into this Python's environment.")
    return script
