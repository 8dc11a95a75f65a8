"""What to do after a call of unknown fate is the server's setting, unless the request says otherwise."""

from __future__ import annotations

from typing import Any, cast

import httpx2
import pytest
from api_kit import BODY, RunningApi, StandInWorker, refused


def policy_of(api: RunningApi, **fields: object) -> str:
    """What a worker is told to do for a job that was submitted with these fields."""
    return StandInWorker(api.settings).claim(api.submit(**fields)).job.on_unknown_outcome


def test_a_request_overrides_the_servers_retry(api: RunningApi) -> None:
    assert policy_of(api) == "retry"
    assert policy_of(api, on_unknown_outcome="fail") == "fail"


def test_a_request_overrides_the_servers_fail(start_own_api: Any) -> None:
    api = cast("RunningApi", start_own_api(IMAGEQUEUE_ON_UNKNOWN_OUTCOME="fail", IMAGEQUEUE_API_PROCESSES="1"))
    assert policy_of(api) == "fail"
    assert policy_of(api, on_unknown_outcome="retry") == "retry"


@pytest.mark.parametrize("given", ["maybe", "", 1, True, ["retry"]])
def test_any_other_policy_is_refused_by_the_fields_name(http: httpx2.Client, given: object) -> None:
    problem = refused(http.post("/v1/jobs", json={**BODY, "on_unknown_outcome": given}), "invalid_request")
    assert (problem["status"], [each["field"] for each in problem["errors"]]) == (400, ["on_unknown_outcome"])
