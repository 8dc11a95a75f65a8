"""`imagequeue jobs delete`, `imagequeue session delete` and `imagequeue batch delete`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from imagequeue.cli.connection import connect
from imagequeue.cli.exits import ExitCode, exit_code, say
from imagequeue.cli.output import print_line
from imagequeue.client import ApiProblem


def delete_jobs(job_ids: Sequence[str]) -> None:
    """Delete each job, and print the ids of those that are gone now."""
    with connect() as client:
        _delete_each(client.delete, job_ids)


def delete_sessions(session_ids: Sequence[str]) -> None:
    """Delete each session, and print the ids of those that are gone now."""
    with connect() as client:
        _delete_each(client.delete_session, session_ids)


def delete_batches(batch_ids: Sequence[str]) -> None:
    """Delete each batch, and print the ids of those that are gone now."""
    with connect() as client:
        _delete_each(client.batches.delete, batch_ids)


def _delete_each(delete: Callable[[str], None], ids: Sequence[str]) -> None:
    code = ExitCode.OK
    for one in ids:
        try:
            delete(one)
        except ApiProblem as error:
            say(str(error))
            code = max(code, exit_code(error))
        else:
            print_line(one)
    sys.exit(code)
