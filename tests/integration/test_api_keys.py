"""API keys over real HTTP: who gets in, what each may do, and that nobody sees what is not theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx2
import pytest
from api_kit import BODY, RunningApi, StandInWorker, assert_documented, data_url, refused, succeed, upload
from keyed_kit import Person
from redis import Redis

from api.app import create_app
from imagequeue.settings import Settings

NO_KEY = "key_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
UNKNOWN = "iq_" + "x" * 40
Operation = tuple[str, str]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of all that is under /v1, as the document lists them."""
    document = cast("Any", create_app(cast("Any", None), Settings())).api_doc
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path.startswith("/v1/"):
                yield method.upper(), path, operation


PROTECTED = [(method, path) for method, path, _ in operations()]
OPENAIS = ("/v1/images/", "/v1/models")
OF_RECORDS = [(method, path) for method, path in PROTECTED if re.search(r"{(job|session|batch)_id}", path)]
LISTS = ["/v1/jobs", "/v1/sessions", "/v1/batches"]
OTHER_LISTS = ["/v1/events", "/v1/usage", "/v1/models", "/v1/webhooks/endpoints", "/v1/webhooks/deliveries"]
"""What is in them is looked at where they are tested."""


NOBODYS = {kind: f"{prefix}_{NO_KEY[4:]}" for kind, prefix in (("job", "job"), ("session", "ses"), ("batch", "batch"))}


def filled(path: str, ids: Mapping[str, str] = NOBODYS) -> str:
    """A path whose parameters have values."""
    others = {
        "endpoint_id": "ep_1",
        "delivery_id": "dlv_1",
        "model": "none",
        "name": "a.jsonl",
        "index": "0",
        "partial_index": "0",
    }
    values = {**{f"{kind}_id": value for kind, value in ids.items()}, "key_id": NO_KEY, **others}
    return re.sub(r"\{(\w+)\}", lambda name: values[name[1]], path)


def test_the_document_has_what_these_tests_need() -> None:
    assert len(PROTECTED) >= 20
    single = {path for method, path in PROTECTED if method == "GET" and "{" not in path}
    assert single - {"/v1/keys", "/v1/keys/current", "/v1/webhooks/secret"} == {*LISTS, *OTHER_LISTS}
    assert len(OF_RECORDS) >= 8


def test_the_document_says_that_keys_are_asked_for() -> None:
    for method, path, operation in operations():
        assert {"401", "403"} <= set(operation["responses"]), (method, path)
        assert operation["security"] == [{"apiKey": []}, {}], (method, path)


@pytest.mark.parametrize(("method", "path"), PROTECTED, ids=" ".join)
def test_nobody_gets_in_without_a_key(keyed_api: RunningApi, method: str, path: str) -> None:
    answer = keyed_api.http.request(method, filled(path))
    if path.startswith(OPENAIS):
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert "Authorization: Bearer" in answer.json()["error"]["message"]
        return
    assert "Authorization: Bearer" in refused(answer, "unauthorized")["detail"]
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/jobs/", "/v1//jobs"])
def test_what_is_not_there_is_not_told_without_a_key_either(keyed_api: RunningApi, admin: Person, path: str) -> None:
    refused(keyed_api.http.get(path), "unauthorized")
    refused(admin.ask("GET", path), "not_found")


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json", "/problems/unauthorized"])
def test_health_and_explanations_are_for_everybody(keyed_api: RunningApi, path: str) -> None:
    assert keyed_api.http.get(path).status_code == 200
    assert keyed_api.http.get("/readyz").status_code in (200, 503)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        f"Bearer {UNKNOWN}",
        "Bearer iq_short",
        "Bearer sk-live",
        f"Bearer {UNKNOWN} {UNKNOWN}",
        "Basic aXE6aXE=",
        "Bearer {first} x",
        "{first}",
        "Token {first}",
        "Bearer {lower}",
    ],
)
def test_no_other_text_is_a_key(keyed_api: RunningApi, admin: Person, given: str) -> None:
    text = given.replace("{first}", admin.secret).replace("{lower}", admin.secret.swapcase())
    answer = keyed_api.http.get("/v1/jobs", headers={"Authorization": text})
    problem = refused(answer, "unauthorized")
    assert admin.secret not in answer.text
    assert "iq_xxx" not in problem["detail"]


def test_the_scheme_may_be_written_anyhow(keyed_api: RunningApi, admin: Person) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        answer = keyed_api.http.get("/v1/keys/current", headers={"Authorization": f"{scheme} {admin.secret}"})
        assert answer.json()["owner"] == "local"


def needed(method: str, path: str) -> str | None:
    """The scope that a request needs."""
    if path == "/v1/keys/current":
        return None
    if path.startswith("/v1/keys"):
        return "admin"
    return "read" if method == "GET" else "submit"


@pytest.fixture(scope="module")
def specialists(keyed_api: RunningApi) -> dict[str, Person]:
    """One key for each scope, and the scope alone."""
    first = Person(keyed_api, cast("Any", keyed_api.settings.first_key_file).read_text().strip())
    return {scope: first.issue(scopes=[scope], owner="specialists") for scope in ("submit", "read", "admin")}


@pytest.mark.parametrize(("method", "path"), PROTECTED, ids=" ".join)
def test_every_endpoint_asks_for_its_scope_and_no_other(specialists: dict[str, Person], method: str, path: str) -> None:
    for scope, person in specialists.items():
        status, text = person.look(method, filled(path))
        if needed(method, path) in (None, scope):
            assert status not in (401, 403), (scope, text)
        else:
            assert (status, f"'{needed(method, path)}'" in text) == (403, True), text


@dataclass(frozen=True)
class Neighbours:
    """Two owners; the first one's job with an image, session with a turn, and batch of a line: their ids by kind."""

    one: Person
    other: Person
    ids: Mapping[str, str]


@pytest.fixture(scope="module")
def neighbours(keyed_api: RunningApi) -> Neighbours:
    """The first owner has one record of each kind, the other none."""
    first = Person(keyed_api, cast("Any", keyed_api.settings.first_key_file).read_text().strip())
    one, other = first.issue(), first.issue()
    worker = StandInWorker(keyed_api.settings)
    job_id = one.submit()
    succeed(worker, job_id)
    turn = one.ask("POST", "/v1/sessions", {**BODY, "images": [f"job:{job_id}/0"]}).json()
    succeed(worker, turn["id"])
    batch = one.ask("POST", "/v1/batches", {"lines": [BODY]}).json()
    return Neighbours(one, other, {"job": job_id, "session": turn["session_id"], "batch": batch["id"]})


def body_for(method: str, path: str) -> dict[str, Any] | None:
    """What a request must bring to be a good one."""
    return BODY if path.endswith("/turns") else {"priority": 1} if method == "PATCH" else None


@pytest.mark.parametrize(("method", "path"), OF_RECORDS, ids=" ".join)
def test_what_belongs_to_another_owner_does_not_exist(neighbours: Neighbours, method: str, path: str) -> None:
    one, other, ids = neighbours.one, neighbours.other, neighbours.ids
    body = body_for(method, path)
    theirs, nobodys = (other.ask(method, url, body) for url in (filled(path, ids), filled(path)))
    (kind,) = (kind for kind in ids if f"{{{kind}_id}}" in path)
    assert (theirs.status_code, theirs.json()["code"]) == (404, f"{kind}_not_found")
    assert theirs.text.replace(ids[kind], NOBODYS[kind]) == nobodys.text, "not even that it exists"
    if method != "DELETE" and "{partial_index}" not in path:  # it has none
        status, text = one.look(method, filled(path, ids), body)
        assert status != 404, text


@pytest.mark.parametrize(("path", "kind"), [*zip(LISTS, NOBODYS, strict=True)])
def test_lists_show_ones_own(neighbours: Neighbours, path: str, kind: str) -> None:
    assert neighbours.ids[kind] in str(neighbours.one.get(path))
    assert not any(name in str(neighbours.other.get(path)) for name in neighbours.ids.values())


def test_nobody_finds_anothers_jobs_by_session_batch_or_cursor(neighbours: Neighbours) -> None:
    other, ids = neighbours.other, neighbours.ids
    refused(other.ask("GET", f"/v1/jobs?session={ids['session']}"), "session_not_found")
    refused(other.ask("GET", f"/v1/jobs?batch={ids['batch']}"), "batch_not_found")
    assert other.get(f"/v1/jobs?cursor={ids['job']}")["jobs"] == []


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/sessions"])
def test_nobody_edits_anothers_images(neighbours: Neighbours, path: str) -> None:
    one, other, image = neighbours.one, neighbours.other, f"job:{neighbours.ids['job']}/0"
    kind = {"type": "edit"} if path == "/v1/jobs" else {}
    for fields in ({"images": [image]}, {"images": [data_url()], "mask": image}):
        problem = refused(other.ask("POST", path, {**BODY, **kind, **fields}), "input_missing")
        assert "no such job of yours" in problem["detail"]
    assert one.ask("POST", path, {**BODY, **kind, "images": [image]}).status_code == 202


def test_an_upload_is_known_by_its_hash_to_whoever_has_the_file(keyed_api: RunningApi, neighbours: Neighbours) -> None:
    """See docs/adr/0009: who names the hash has had the bytes, and no address serves them."""
    one, other = neighbours.one, neighbours.other
    files = {"file": ("a.png", data_url().encode(), "image/png")}
    refused(keyed_api.http.post("/v1/uploads", files=files), "unauthorized")
    keyed_api.http.headers.update(one.header)
    try:
        image = upload(keyed_api)
    finally:
        del keyed_api.http.headers["Authorization"]
    other.submit(type="edit", images=[image])


def test_keys_of_one_owner_share_all_that_they_make(admin: Person) -> None:
    one, other = (admin.issue(owner="team-a") for _ in range(2))
    job_id = one.submit()
    assert other.get(f"/v1/jobs/{job_id}")["id"] == job_id
    assert other.ask("POST", f"/v1/jobs/{job_id}/cancel").status_code == 200
    used = admin.get(f"/v1/keys/{other.key_id}")["use"]
    assert used["jobs_in_flight"] == 0


def test_a_key_is_shown_with_its_secret_once_and_kept_without(keyed_api: RunningApi, admin: Person) -> None:
    answer = admin.ask("POST", "/v1/keys", {"name": "studio", "limits": {"daily_budget_usd": 20}})
    issued = answer.json()
    key, secret = issued["key"], issued["secret"]
    assert answer.headers["Location"] == f"/v1/keys/{key['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert re.fullmatch(r"iq_[\w-]{40}", secret)
    assert (key["owner"], key["hint"], key["scopes"]) == (key["id"], secret[-4:], ["read", "submit"])
    assert key["limits"]["daily_budget_usd"] == 20
    looks = [admin.ask("GET", path) for path in ("/v1/keys", answer.headers["Location"])]
    looks.append(Person(keyed_api, secret).ask("GET", "/v1/keys/current"))
    assert all(look.status_code == 200 and secret not in look.text and key["id"] in look.text for look in looks)
    document = keyed_api.http.get("/openapi.json").json()
    for name, body in (("IssuedKeyView", issued), ("KeyList", looks[0].json()), ("CallerView", looks[2].json())):
        assert_documented(document, name, body)
    assert secret not in everything_in_redis(keyed_api)
    assert secret not in keyed_api.log.read_text()


def test_a_rotated_secret_is_good_for_its_grace_and_a_revoked_key_not_at_all(admin: Person) -> None:
    first = admin.issue()
    job_id = first.submit()
    second = admin.rotate(first, grace_seconds=600)
    assert [person.get(f"/v1/jobs/{job_id}")["id"] for person in (first, second)] == [job_id] * 2
    third = admin.rotate(second)
    for old in (first, second):
        refused(old.ask("GET", "/v1/jobs"), "unauthorized")
    revoked = [admin.ask("POST", f"/v1/keys/{third.key_id}/revoke") for _ in range(2)]
    assert [answer.status_code for answer in revoked] == [200, 200]
    assert revoked[0].json()["revoked_at"]
    assert "revoked" in refused(third.ask("GET", "/v1/jobs"), "unauthorized")["detail"]
    refused(admin.ask("POST", f"/v1/keys/{third.key_id}/rotate"), "key_not_found")
    shown = admin.get(f"/v1/keys/{third.key_id}")
    assert shown["use"]["jobs_in_flight"] == 1, "what it submitted goes on"


@pytest.mark.parametrize("key_id", [NO_KEY, "none", "job_1", "key_x:y", "current.", "%2e%2e"])
def test_keys_that_are_not_there_are_told_so(admin: Person, key_id: str) -> None:
    for method, action in (("GET", ""), ("POST", "/revoke"), ("POST", "/rotate"), ("POST", "/limits")):
        answer = admin.ask(method, f"/v1/keys/{key_id}{action}", {"limits": {}} if action == "/limits" else None)
        assert answer.json()["code"] in ("key_not_found", "not_found"), answer.text


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "owner": "a:b"}, "owner"),
        ({"name": "x", "owner": ""}, "owner"),
        ({"name": "x", "owner": "x" * 65}, "owner"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "x", "scopes": "admin"}, "scopes"),
        ({"name": "x", "limits": {"jobs_per_minute": 0}}, "limits.jobs_per_minute"),
        ({"name": "x", "limits": {"jobs_in_flight": -1}}, "limits.jobs_in_flight"),
        ({"name": "x", "limits": {"daily_budget_usd": 0}}, "limits.daily_budget_usd"),
        ({"name": "x", "limits": {"monthly_budget_usd": 2e6}}, "limits.monthly_budget_usd"),
        ({"name": "x", "limits": {"jobs_per_hour": 1}}, "limits.jobs_per_hour"),
        ({"name": "x", "secret": "iq_mine"}, "secret"),
    ],
    ids=str,
)
def test_a_bad_request_for_a_key_names_the_field(admin: Person, request_: object, field: str) -> None:
    before = admin.get("/v1/keys")
    problem = refused(admin.ask("POST", "/v1/keys", request_), "invalid_request")
    assert problem["errors"][0]["field"].startswith(field)
    assert admin.get("/v1/keys") == before


def test_limits_hold_at_once_and_are_told_before_they_do(admin: Person) -> None:
    person = admin.issue(limits={"jobs_per_minute": 2})
    first, second = (person.ask("POST", "/v1/jobs", BODY) for _ in range(2))
    for answer in (first, second):
        assert answer.headers["RateLimit-Policy"] == '"jobs";q=2;w=60'
    assert (told(first)["r"], told(second)["r"]) == (1, 0)
    assert 0 < told(second)["t"] <= 30
    third = person.ask("POST", "/v1/jobs", BODY)
    assert "2 jobs a minute" in refused(third, "too_many_jobs_per_minute")["detail"]
    assert (told(third)["r"], str(told(third)["t"])) == (0, third.headers["Retry-After"])
    admin.limit(person, jobs_in_flight=2)
    full = person.ask("POST", "/v1/jobs", BODY)
    assert "2 jobs that have not ended" in refused(full, "too_many_jobs_in_flight")["detail"]
    assert int(full.headers["Retry-After"]) > 0
    assert "RateLimit" not in full.headers
    admin.limit(person)
    assert "RateLimit" not in person.ask("POST", "/v1/jobs", BODY).headers
    assert admin.get(f"/v1/keys/{person.key_id}")["use"]["jobs_in_flight"] == 3


def test_a_budget_refuses_what_could_cost_more_with_the_figures(keyed_api: RunningApi, admin: Person) -> None:
    estimate = admin.get(f"/v1/jobs/{admin.submit(quality='low', size='1024x1024')}")["estimate"]
    person = admin.issue(limits={"daily_budget_usd": round(estimate["high_usd"] * 1.5, 6)})
    job_id = person.submit(quality="low", size="1024x1024")
    answer = person.ask("POST", "/v1/sessions", {**BODY, "images": [data_url()], "quality": "low"})
    problem = refused(answer, "budget_exceeded")
    assert re.search(r"daily budget of \$0\.0\d+ has \$0\.0000 spent and \$0\.00\d\d reserved", problem["detail"])
    assert re.search(r"starts anew at \d{4}-\d\d-\d\dT00:00:00Z", problem["detail"])
    assert 0 < int(answer.headers["Retry-After"]) <= 86_400
    assert person.get("/v1/sessions")["sessions"] == []
    StandInWorker(keyed_api.settings).fail(StandInWorker(keyed_api.settings).claim(job_id))
    person.submit(quality="low", size="1024x1024")
    use = person.get("/v1/keys/current")["key"]["use"]
    assert (use["jobs_in_flight"], use["reserved_usd"], use["today_usd"]) == (1, estimate["high_usd"], 0)


def told(answer: httpx2.Response) -> dict[str, int]:
    """The parameters of an answer's RateLimit."""
    return {name: int(value) for name, value in re.findall(r";(\w)=(\d+)", answer.headers["RateLimit"])}


def everything_in_redis(api: RunningApi) -> str:
    """All keys and values under the API's prefix."""
    with Redis.from_url(api.settings.redis_url, decode_responses=True) as client:  # pyright: ignore[reportUnknownMemberType]
        raw = cast("Any", client)
        found: list[object] = []
        for key in raw.scan_iter(match=f"{api.settings.key_prefix}*", count=1000):
            kind = raw.type(key)
            found.append((key, raw.hgetall(key) if kind == "hash" else raw.get(key) if kind == "string" else None))
        return str(found)
