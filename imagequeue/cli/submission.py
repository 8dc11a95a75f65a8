"""From what was typed to a submitted job: broken rules are told as options, and no job is made twice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, TypeVar

from pydantic import BaseModel

from imagequeue.cli.connection import connect
from imagequeue.cli.delivery import Delivery, hand_over
from imagequeue.cli.exits import ExitCode, say
from imagequeue.client import ApiProblem, ApiUnreachable
from imagequeue.errors import InvalidRequest, Violation
from imagequeue.requests import parse_request
from imagequeue.views import JobView

_OPTIONS: Final = {
    "prompt": "PROMPT",
    "images": "IMAGE",
    "output_format": "--format",
    "output_compression": "--compression",
    "filename_prefix": "--prefix",
}
"""Fields whose option has another name than `--field`."""
Request = TypeVar("Request", bound=BaseModel)


def generate(request: Mapping[str, object], delivery: Delivery) -> None:
    """Submit a request for new images; then leave, or wait for them and save them."""
    asked = checked(parse_request, request)
    delivery.prepare()
    with connect() as client:
        hand_over(client, submitted(lambda: client.submit(asked)), delivery)


def checked(parse: Callable[[Mapping[str, object]], Request], request: Mapping[str, object]) -> Request:
    """The request as `parse` reads it; where it breaks rules, the command ends with one line for each."""
    try:
        return parse(request)
    except InvalidRequest as error:
        _refuse(error.violations)


def submitted(send: Callable[[], JobView]) -> JobView:
    """The job that `send` submits; when that fails, the command ends and says whether there may be one."""
    unsure = "The job may have been accepted all the same: look with `imagequeue jobs list` before you repeat it."
    try:
        return send()
    except ApiProblem as error:
        if error.violations:
            _refuse(error.violations)
        raise
    except ApiUnreachable as error:
        say(str(error))
        if error.maybe_received:
            say(unsure)
        sys.exit(ExitCode.UNREACHABLE)
    except KeyboardInterrupt:
        say(f"\n{unsure}")
        sys.exit(ExitCode.INTERRUPTED)


def _refuse(violations: tuple[Violation, ...]) -> NoReturn:
    for broken in violations:
        option = _OPTIONS.get(broken.field, f"--{broken.field}")
        say(f"{option}: {broken.rule}; given {broken.given}, for example {broken.example}")
    sys.exit(ExitCode.BAD_INPUT)
