"""How an installation comes to ask for keys: the first one, and the starts that are refused."""

from __future__ import annotations

import secrets
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from api_kit import BODY, RunningApi, inherited, refused
from fleet_kit import PROGRAM
from keyed_kit import PEPPER, Person, first_person, key_settings

from imagequeue.api_keys import ALL_SCOPES, Scope
from imagequeue.errors import Misconfigured
from imagequeue.key_service import KeyService
from imagequeue.settings import Settings
from imagequeue.store.api_keys import KeyStore
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys
from sandbox.stack.ports import choose_port

BRIDGE = str(Path(PROGRAM).with_name("imagequeue-mcp"))
ONE_PROCESS = {"IMAGEQUEUE_API_PROCESSES": "1"}


def start(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Start a server that must not come up."""
    variables = {**inherited(), "IMAGEQUEUE_API_PORT": str(choose_port()), **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)


def own(service_environment: Mapping[str, str], **variables: str) -> dict[str, str]:
    """Records of a test's own."""
    return {**service_environment, "IMAGEQUEUE_KEY_PREFIX": f"{secrets.token_hex(4)}:", **variables}


def service(environment: Mapping[str, str], pepper: str | None = PEPPER) -> KeyService:
    """The keys of an installation, as a process with this pepper has them."""
    settings = Settings(
        redis_url=environment["IMAGEQUEUE_REDIS_URL"],
        key_prefix=environment["IMAGEQUEUE_KEY_PREFIX"],
        key_pepper=cast("Any", pepper),
    )
    return KeyService(settings, KeyStore(connect(settings.redis_url), Keys(settings.key_prefix)))


def test_the_first_key_is_made_once_and_is_for_the_files_owner_only(start_own_api: Any, tmp_path: Path) -> None:
    settings = key_settings(tmp_path) | ONE_PROCESS
    api = cast("RunningApi", start_own_api(**settings))
    first = first_person(api)
    caller = first.get("/v1/keys/current")
    assert (caller["owner"], caller["scopes"], caller["key"]["name"]) == ("local", ["admin", "read", "submit"], "first")
    file = cast("Path", api.settings.first_key_file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = cast("RunningApi", start_own_api(**settings, IMAGEQUEUE_KEY_PREFIX=api.settings.key_prefix))
    assert first_person(again).secret == first.secret
    assert [key["id"] for key in first.get("/v1/keys")["keys"]] == [caller["key"]["id"]]
    job_id = first.submit()
    assert Person(again, first.secret).get(f"/v1/jobs/{job_id}")["id"] == job_id


def test_by_hand_the_first_key_must_be_able_to_make_others_and_closes_the_door(start_own_api: Any) -> None:
    api = cast("RunningApi", start_own_api(IMAGEQUEUE_KEY_PEPPER=PEPPER, **ONE_PROCESS))
    assert api.http.get("/v1/keys/current").json() == {
        "owner": "local",
        "scopes": ["admin", "read", "submit"],
        "key": None,
    }
    job_id = api.submit()
    refused(api.http.get("/v1/jobs", headers={"Authorization": "Bearer iq_" + "x" * 40}), "unauthorized")
    for scopes in (None, ["submit", "read"]):
        body = {"name": "x"} if scopes is None else {"name": "x", "scopes": scopes}
        problem = refused(api.http.post("/v1/keys", json=body), "invalid_request")
        assert (problem["errors"][0]["field"], "'admin'" in problem["detail"]) == ("scopes", True)
    assert api.http.get("/v1/keys").json() == {"keys": []}
    answer = api.http.post("/v1/keys", json={"name": "x", "scopes": ["admin"], "owner": "local"})
    admin = Person(api, answer.json()["secret"])
    refused(api.http.get(f"/v1/jobs/{job_id}"), "unauthorized")
    assert admin.issue(owner="local").get(f"/v1/jobs/{job_id}")["id"] == job_id
    admin.ask("POST", f"/v1/keys/{answer.json()['key']['id']}/revoke")
    refused(api.http.post("/v1/jobs", json=BODY), "unauthorized")


def test_without_a_pepper_no_key_is_made_and_it_is_said_why(start_own_api: Any) -> None:
    api = cast("RunningApi", start_own_api(**ONE_PROCESS))
    answer = api.http.post("/v1/keys", json={"name": "x", "scopes": ["admin"]})
    assert "openssl rand -hex 32" in refused(answer, "misconfigured")["detail"]
    refused(api.http.get("/v1/jobs", headers={"Authorization": "Bearer iq_" + "x" * 40}), "unauthorized")
    api.submit()


@pytest.mark.parametrize("command", [[PROGRAM, "api"], [BRIDGE, "--http"]], ids=["api", "mcp"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_nothing_listens_to_a_network_without_a_key(
    service_environment: Mapping[str, str], command: list[str], host: str
) -> None:
    port = {"IMAGEQUEUE_MCP_PORT": str(choose_port())}
    hosts = {"IMAGEQUEUE_API_HOST": host, "IMAGEQUEUE_MCP_HOST": host}
    ended = start(command, own(service_environment, **hosts, **port))
    (line,) = ended.stderr.strip().splitlines()
    assert ended.returncode == 2
    assert f"Listening on {host} would let anybody" in line
    assert "IMAGEQUEUE_FIRST_KEY_FILE" in line


@pytest.mark.parametrize("pepper", ["another-pepper-0123456789", None])
def test_a_wrong_pepper_stops_the_start_with_one_line(
    service_environment: Mapping[str, str], pepper: str | None
) -> None:
    environment = own(service_environment)
    service(environment).create("first", scopes=ALL_SCOPES)
    ended = start([PROGRAM, "api"], environment | ({"IMAGEQUEUE_KEY_PEPPER": pepper} if pepper else {}))
    (line,) = ended.stderr.strip().splitlines()
    assert ended.returncode == 2
    assert line.startswith("IMAGEQUEUE_KEY_PEPPER is not ")
    assert (pepper or PEPPER) not in line


@pytest.mark.parametrize(
    ("content", "told"), [("sk-something-else\n", "does not hold an API key; remove it"), (None, "cannot be used")]
)
def test_a_file_that_can_hold_no_first_key_stops_the_start_with_one_line(
    service_environment: Mapping[str, str], tmp_path: Path, content: str | None, told: str
) -> None:
    settings = key_settings(tmp_path if content else tmp_path / "missing")
    if content:
        Path(settings["IMAGEQUEUE_FIRST_KEY_FILE"]).write_text(content)
    environment = own(service_environment, **settings)
    ended = start([PROGRAM, "api"], environment)
    (line,) = ended.stderr.strip().splitlines()
    assert ended.returncode == 2
    assert line.startswith("IMAGEQUEUE_FIRST_KEY_FILE")
    assert told in line
    assert not service(environment).all()


def test_a_start_that_was_cut_short_is_taken_up_with_the_same_key(
    service_environment: Mapping[str, str], tmp_path: Path
) -> None:
    environment, file = own(service_environment), tmp_path / "first_key"
    keys = service(environment)
    with pytest.raises(Misconfigured, match="IMAGEQUEUE_KEY_PEPPER is not set"):
        service(environment, None).ensure_first(file)
    secret = file.read_text().strip()
    assert keys.caller(None).owner == "local"
    for _ in range(2):
        keys.ensure_first(file)
    assert keys.caller(secret).scopes == ALL_SCOPES
    assert file.read_text().strip() == secret
    file.unlink()
    keys.ensure_first(file)
    assert not file.exists()


def test_a_pepper_counts_from_the_first_key_on(service_environment: Mapping[str, str]) -> None:
    environment = own(service_environment)
    with pytest.raises(Exception, match="not known here"):
        service(environment, "pepper-of-a-first-try").caller("iq_" + "x" * 40)
    issued = service(environment).create("first", scopes=frozenset({Scope.ADMIN}))
    assert service(environment).caller(issued.secret).key_id == issued.key.id
