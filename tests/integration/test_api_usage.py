"""What was used, over HTTP: a stand-in moves the jobs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from api_kit import RunningApi, StandInWorker, assert_documented, refused, succeed
from retention_kit import figures_of

from imagequeue.jobs import AttemptOutcome, JobError, JobState, Result
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys
from imagequeue.views import JobPage, JobView


def all_jobs(api: RunningApi) -> Iterable[JobView]:
    """Every job of the API."""
    page = JobPage.model_validate_json(api.http.get("/v1/jobs", params={"limit": 100}).content)
    assert page.next_cursor is None
    return page.jobs


def test_usage_is_the_sum_of_the_records_and_names_what_is_not_known(empty_api: RunningApi) -> None:
    api, worker = empty_api, StandInWorker(empty_api.settings)
    assert api.http.get("/v1/usage").json()["rows"] == []
    succeed(worker, api.submit(prompt="paid"))
    worker.fail(worker.claim(api.submit(prompt="never called")))
    claim = worker.claim(api.submit(prompt="cut off"))
    worker.store.start_call(claim, "direct")
    unknown = JobError(code="outcome_unknown", message="cut off")
    worker.store.finish(claim, Result(state=JobState.FAILED, outcome=AttemptOutcome.UNKNOWN, error=unknown))
    api.http.post(f"/v1/jobs/{api.submit()}/cancel").raise_for_status()
    api.submit(prompt="not ended")
    report = api.http.get("/v1/usage").json()
    assert_documented(api.http.get("/openapi.json").json(), "UsageReport", report)
    assert report["total"] == figures_of(all_jobs(api)).model_dump(mode="json")
    assert report["total"]["jobs"] == {"succeeded": 1, "failed": 2, "cancelled": 1}
    assert (report["total"]["jobs_of_unknown_cost"], report["total"]["images"]) == (1, 1)
    assert report["total"]["possible_extra_cost_usd"] > 0
    [row] = report["rows"]
    assert (row["day"], row["model"]) == (report["last_day"], None)
    [by_model] = api.http.get("/v1/usage", params={"group": "model"}).json()["rows"]
    assert (by_model["day"], by_model["model"]) == (None, "gpt-image-2")
    [by_key] = api.http.get("/v1/usage", params={"group": "key"}).json()["rows"]
    assert (by_key["day"], by_key["key_id"], by_key["model"], by_key["jobs"]) == (None, None, None, row["jobs"])
    assert by_model["cost_usd_estimated"] == row["cost_usd_estimated"] == 0.006


def test_a_cost_that_is_known_of_no_job_is_null(empty_api: RunningApi) -> None:
    worker = StandInWorker(empty_api.settings)
    claim = worker.claim(empty_api.submit())
    worker.store.start_call(claim, "direct")
    worker.fail(claim)
    assert empty_api.http.get("/v1/usage").json()["total"]["cost_usd_estimated"] is None


def test_only_the_days_that_are_asked_for_count_and_old_ones_are_dropped(empty_api: RunningApi) -> None:
    api, today = empty_api, datetime.now(UTC).date()
    number = (today - datetime.fromtimestamp(0, UTC).date()).days
    with cast("Any", connect(api.settings.redis_url)) as redis:
        for days in (1, 40, 401):
            redis.hset(Keys(api.settings.key_prefix).usage("local"), f"{number - days}:succeeded::gpt-image-2", days)
    api.http.post(f"/v1/jobs/{api.submit()}/cancel").raise_for_status()

    def rows(**query: object) -> list[tuple[str, int]]:
        found = api.http.get("/v1/usage", params={name: str(value) for name, value in query.items()}).json()["rows"]
        return [(row["day"], row["jobs"]["succeeded"] + row["jobs"]["cancelled"]) for row in found]

    def day(ago: int) -> str:
        return str(today - timedelta(days=ago))

    assert rows() == [(day(1), 1), (day(0), 1)]
    assert rows(**{"from": day(1000)}) == [(day(40), 40), (day(1), 1), (day(0), 1)]
    assert rows(**{"from": day(40), "to": day(1)}) == [(day(40), 40), (day(1), 1)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "2026-08-32"}, "from"),
        ({"to": "yesterday"}, "to"),
        ({"from": "2026-08-02", "to": "2026-08-01"}, "from"),
        ({"group": "owner"}, "group"),
        ({"first_day": "2026-08-01"}, "first_day"),
    ],
)
def test_a_bad_span_is_refused_with_the_fields_name(api: RunningApi, query: dict[str, str], field: str) -> None:
    [error] = refused(api.http.get("/v1/usage", params=query), "invalid_request")["errors"]
    assert error["field"] == field
