"""What a batch has made, over HTTP with a real worker behind: its images in an archive, its report, its pages."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import uuid
import zipfile
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from api_kit import RunningApi, assert_documented, refused
from batch_kit import lines, look, results, submit
from fleet_kit import Fleet
from keyed_kit import Person
from PIL import Image

HOSTILE = "<script>alert('x')</script> & \"quotes\" 灯台"
ODD = ["../../etc/passwd", "CON", "LINE-0", HOSTILE]


@pytest.fixture(scope="module")
def batch(fleet_api: RunningApi, shared_fleet: Fleet) -> Mapping[str, Any]:
    """One of 110 lines that has ended: 2 failed, 1 was refused, 1 has several images, 4 have odd names."""
    words = f"outputs {uuid.uuid4().hex}"
    shared_fleet.sandbox.calm()
    manifest = lines(110, words)
    for number, name in enumerate(ODD, 10):
        manifest[number]["custom_id"] = name
    manifest[13]["prompt"] = f"{words} {HOSTILE}"
    manifest[20] |= {"prompt": f"{words} FORBIDDEN"}
    manifest[21] |= {"n": 3}
    for number in (30, 31):
        manifest[number]["prompt"] = f"{words} broken {number}"
    shared_fleet.sandbox.add_fault({"status": 400, "code": "invalid_value"}, prompt=f"{words} broken", times=2)
    made = submit(fleet_api.http, manifest, name=f"{HOSTILE} spring")
    ended = look(fleet_api.http, made, wait=90)
    assert (ended["state"], ended["counts"]["succeeded"]) == ("completed", 107), ended
    return ended


def get(api: RunningApi, batch: Mapping[str, Any], what: str, **options: Any) -> httpx2.Response:
    """Something of the batch."""
    return api.http.get(f"/v1/batches/{batch['id']}/{what}", **options)


def archive(api: RunningApi, batch: Mapping[str, Any], **params: str) -> zipfile.ZipFile:
    """The batch's archive, which must be whole."""
    answer = get(api, batch, "images.zip", params=params).raise_for_status()
    assert answer.headers["content-type"] == "application/zip"
    found = zipfile.ZipFile(io.BytesIO(answer.content))
    assert found.testzip() is None
    return found


def records(found: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    """One of the lists in an archive."""
    return [json.loads(line) for line in found.read(name).splitlines()]


def test_the_archive_has_every_image_byte_for_byte_under_its_lines_name(
    fleet_api: RunningApi, batch: Mapping[str, Any]
) -> None:
    found = archive(fleet_api, batch)
    index = {(one["job_id"], one["index"]): one for one in records(found, "index.jsonl")}
    images = [(line, image) for line in results(fleet_api.http, batch) for image in line["images"]]
    assert len(images) == len(index) == 109
    for line, image in images:
        named = index[line["job_id"], image["index"]]
        assert hashlib.sha256(found.read(named["file"])).hexdigest() == image["sha256"] == named["sha256"]
        assert named["custom_id"] == line["custom_id"]
    names = found.namelist()
    assert names[0] == "line-0.jpg"
    assert {"etc-passwd.jpg", "_CON.jpg", "LINE-0~2.jpg", *(f"line-21-{index}.jpg" for index in range(3))} <= set(names)
    assert names[-2:] == ["index.jsonl", "failed.jsonl"]
    assert not [name for name in names if "/" in name or "\\" in name]


def test_refusals_and_failures_are_listed_beside_the_images(fleet_api: RunningApi, batch: Mapping[str, Any]) -> None:
    failed = records(archive(fleet_api, batch), "failed.jsonl")
    assert [(one["line"], one["custom_id"], one["state"], one["error"]["code"]) for one in failed] == [
        (20, "line-20", "refused", "moderation_blocked"),
        (30, "line-30", "failed", "provider_refused"),
        (31, "line-31", "failed", "provider_refused"),
    ]
    assert failed[0]["request"]["prompt"].endswith("FORBIDDEN")
    assert failed[0]["error"]["categories"] == ["sandbox"]


def test_folders_are_made_by_prompt_if_asked_for(fleet_api: RunningApi, batch: Mapping[str, Any]) -> None:
    names = archive(fleet_api, batch, folders="prompt").namelist()
    assert all(name.count("/") == 1 for name in names[:-2])
    assert len({name.partition("/")[0] for name in names[:-2]}) == 107
    refused(get(fleet_api, batch, "images.zip", params={"folders": "date"}), "invalid_request")


def test_the_archive_is_named_after_the_batch(fleet_api: RunningApi, batch: Mapping[str, Any]) -> None:
    with fleet_api.http.stream("GET", f"/v1/batches/{batch['id']}/images.zip") as answer:
        disposition = answer.headers["content-disposition"]
        assert "content-length" not in answer.headers
    name = unquote(disposition.removeprefix("attachment; filename*=UTF-8''"))
    assert name == f"script-alert('x')--script- & -quotes- 灯台 spring-{batch['id'][-8:].lower()}.zip"


def test_the_report_counts_what_became_of_the_lines(fleet_api: RunningApi, batch: Mapping[str, Any]) -> None:
    report = get(fleet_api, batch, "report").json()
    assert_documented(fleet_api.http.get("/openapi.json").json(), "BatchReport", report)
    assert {name: report["batch"][name] for name in ("id", "counts", "cost_usd_estimated", "estimate")} == {
        name: batch[name] for name in ("id", "counts", "cost_usd_estimated", "estimate")
    }
    (refusal,), (failure,) = report["refusals"], report["failures"]
    assert (refusal["reason"], refusal["lines"], refusal["custom_ids"]) == ("sandbox", 1, ["line-20"])
    assert (failure["reason"], failure["lines"]) == ("provider_refused", 2)
    assert failure["custom_ids"] == ["line-30", "line-31"]
    times = report["line_seconds"]
    assert times["lines"] == 107
    assert 0 < times["p50"] <= times["p95"] <= times["longest"] <= report["seconds"]
    assert len(report["slowest"]) == 10
    assert report["cost_usd_per_image"] == pytest.approx(batch["cost_usd_estimated"] / 109, abs=1e-6)


def test_the_page_needs_nothing_but_itself(fleet_api: RunningApi, batch: Mapping[str, Any]) -> None:
    answer = get(fleet_api, batch, "report.html")
    page, policy = answer.text, answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert not re.search(r"<script|<link|<iframe|<object|\sstyle=|\son\w+=|url\(|@import", page)
    addresses = re.findall(r"(?:src|href|srcset|action)\s*=\s*[\"']?([^\"'\s>]{0,30})", page)
    assert {address.partition(";")[0] for address in addresses} == {"data:image/webp", "report.html?page=2"}


def test_texts_of_anybody_are_shown_as_they_are(fleet_api: RunningApi, batch: Mapping[str, Any]) -> None:
    page = get(fleet_api, batch, "report.html").text
    shown = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;quotes&#34; 灯台"
    assert page.count(shown) >= 4, "title, heading, name and prompt"
    assert "alert('x')" not in page


def test_each_line_has_its_pictures_small_and_in_the_page(fleet_api: RunningApi, batch: Mapping[str, Any]) -> None:
    pages = [get(fleet_api, batch, "report.html", params={"page": str(page)}).text for page in (1, 2)]
    assert [page.count('<li class="ended-') for page in pages] == [100, 10]
    pictures = [re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page) for page in pages]
    assert [len(found) for found in pictures] == [99, 10]
    for content in (pictures[0][0], pictures[0][20], pictures[1][-1]):
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert max(picture.size) in (220, 400)
    assert len(pages[0]) < 4_000_000
    assert "Slowest lines" in pages[0]
    assert "Slowest lines" not in pages[1]
    problem = refused(get(fleet_api, batch, "report.html", params={"page": "3"}), "invalid_request")
    assert problem["errors"][0]["rule"] == "must be from 1 to 2"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json;q=0.5, text/html", "text/html; charset=utf-8"),
    ],
)
def test_browsers_get_the_page_and_programs_the_figures(
    fleet_api: RunningApi, batch: Mapping[str, Any], accept: str | None, kind: str
) -> None:
    headers = {"Accept": accept} if accept else {}
    assert get(fleet_api, batch, "report", headers=headers).headers["content-type"] == kind


def test_a_deleted_job_is_missing_and_said_to_be(fleet_api: RunningApi, batch: Mapping[str, Any]) -> None:
    last = results(fleet_api.http, batch, after=108)[0]
    fleet_api.http.delete(f"/v1/jobs/{last['job_id']}").raise_for_status()
    missing = records(archive(fleet_api, batch), "failed.jsonl")[-1]
    assert (missing["custom_id"], missing["state"], missing["error"]["code"]) == (
        "line-109",
        "succeeded",
        "image_not_found",
    )
    assert get(fleet_api, batch, "report").json()["line_seconds"]["lines"] == 106
    assert "line-109" in get(fleet_api, batch, "report.html", params={"page": "2"}).text


def test_a_batch_that_has_not_begun_has_an_empty_archive_and_a_report(api: RunningApi) -> None:
    made = submit(api.http, lines(2, f"nobody works {uuid.uuid4().hex}"))
    assert archive(api, made).namelist() == []
    report = get(api, made, "report").json()
    assert (report["line_seconds"], report["slowest"], report["seconds"]) == (None, [], None)
    assert "No line of this page has ended yet" in get(api, made, "report.html").text


@pytest.mark.parametrize("what", ["images.zip", "report", "report.html"])
def test_nobody_sees_the_outputs_of_somebody_elses_batch(keyed_api: RunningApi, admin: Person, what: str) -> None:
    made = keyed_api.http.post(
        "/v1/batches", content=b'{"prompt": "mine"}\n', headers={**admin.header, "Content-Type": "application/jsonl"}
    ).json()
    stranger = admin.issue(name=f"stranger-{what}")
    assert admin.ask("GET", f"/v1/batches/{made['id']}/{what}").status_code == 200
    refused(stranger.ask("GET", f"/v1/batches/{made['id']}/{what}"), "batch_not_found")


def test_a_batch_that_is_run_again_with_reuse_makes_no_calls_and_costs_nothing(
    fleet_api: RunningApi, working_fleet: Fleet
) -> None:
    words = f"run again {uuid.uuid4().hex}"
    first = look(fleet_api.http, submit(fleet_api.http, lines(12, words)), wait=60)
    changed = lines(12, words, reuse=True)
    changed[5]["prompt"] = f"{words} changed"
    again = look(fleet_api.http, submit(fleet_api.http, changed), wait=60)
    assert (again["counts"]["succeeded"], again["images_made"]) == (12, 12)
    assert len(working_fleet.sandbox.calls_beginning(words)) == 13
    assert again["cost_usd_estimated"] == pytest.approx(first["cost_usd_estimated"] / 12, rel=0.1)
    before, after = results(fleet_api.http, first), results(fleet_api.http, again)
    same = [one["images"][0]["sha256"] == two["images"][0]["sha256"] for one, two in zip(before, after, strict=True)]
    assert same == [number != 5 for number in range(12)]
    assert get(fleet_api, again, "report").json()["reused_lines"] == 11
    assert get(fleet_api, again, "report.html").text.count("re-used, at no cost") == 11
