"""What scripts rely on: the exit code of each error."""

from __future__ import annotations

import pytest

from imagequeue.api_answers import ApiProblem, ApiUnreachable
from imagequeue.cli.exits import ExitCode, exit_code
from imagequeue.errors import ImageQueueError, InputFault, InvalidInput, Misconfigured, StoreUnavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ApiProblem(400, "invalid_request", ""), ExitCode.BAD_INPUT),
        (ApiProblem(413, "body_too_large", ""), ExitCode.BAD_INPUT),
        (ApiProblem(404, "input_missing", ""), ExitCode.BAD_INPUT),
        (ApiProblem(400, "mask_opaque", ""), ExitCode.BAD_INPUT),
        (ApiProblem(400, "url_timeout", ""), ExitCode.BAD_INPUT),
        (InvalidInput(InputFault.EMPTY, "a.png", "it has no bytes", "Send another."), ExitCode.BAD_INPUT),
        (Misconfigured("no URL"), ExitCode.BAD_INPUT),
        (ApiProblem(404, "session_not_found", ""), ExitCode.FAILED),
        (ApiProblem(409, "session_ended", ""), ExitCode.FAILED),
        (ApiProblem(410, "session_expired", ""), ExitCode.FAILED),
        (ApiProblem(429, "session_full", ""), ExitCode.FAILED),
        (ApiProblem(503, "store_unavailable", ""), ExitCode.UNREACHABLE),
        (ApiProblem(404, "not_imagequeue", ""), ExitCode.UNREACHABLE),
        (ApiUnreachable("away", maybe_received=True), ExitCode.UNREACHABLE),
        (StoreUnavailable("away"), ExitCode.UNREACHABLE),
    ],
    ids=lambda value: value.code if isinstance(value, ImageQueueError) else None,
)
def test_an_errors_exit_code_says_who_can_mend_it(error: ImageQueueError, code: ExitCode) -> None:
    assert exit_code(error) is code
