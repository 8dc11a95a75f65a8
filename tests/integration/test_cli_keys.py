"""`imagequeue keys`, by the real command against the stack's own API; and the first key of `imagequeue up`."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Run, Shell, client_of, lonely_shell

SECRET = re.compile(r"iq_[\w-]{40}")
KEY_ID = re.compile(r"key_[0-9A-Z]{26}")


def made(iq: Shell, *arguments: str) -> tuple[str, str]:
    """A new key: its id and its secret."""
    run = iq("keys", "create", *arguments)
    assert run.code == 0, run.err
    found = KEY_ID.search(run.err)
    assert found
    assert SECRET.fullmatch(run.out.strip()), "the secret alone, for $( )"
    return found[0], run.out.strip()


def shown(iq: Shell, key_id: str) -> dict[str, Any]:
    """A key as the list shows it."""
    keys = json.loads(iq("keys", "list", "--json").out)["keys"]
    return next(key for key in keys if key["id"] == key_id)


def one_line(run: Run, code: int) -> str:
    """The one line that a refused command prints."""
    assert (run.code, run.out) == (code, ""), run
    (line,) = run.err.splitlines()
    return line


def test_the_stacks_first_key_is_its_users_alone_and_the_commands_use_it(stack: Mapping[str, Any], iq: Shell) -> None:
    file = Path(stack["key_file"])
    assert file == Path(stack["data"]) / "api_key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert iq("keys", "secret").out == file.read_text()
    assert iq("keys", "secret", IMAGEQUEUE_API_KEY="iq_own").out == "iq_own\n"
    assert iq("jobs", "list", IMAGEQUEUE_API_URL=str(stack["api_url"])).code == 0, "the same API by its name"
    with client_of(stack) as client:
        caller = client.keys.current()
    assert (caller.owner, sorted(caller.scopes)) == ("local", ["admin", "read", "submit"])


def test_the_key_is_sent_to_no_other_api(stack: Mapping[str, Any], iq: Shell) -> None:
    assert "No API key is known here" in one_line(iq("keys", "secret", IMAGEQUEUE_API_URL="http://127.0.0.1:1"), 2)


def test_a_key_is_made_used_listed_limited_rotated_and_revoked(iq: Shell) -> None:
    key_id, secret = made(iq, "studio", "--daily-budget", "20", "--jobs-per-minute", "60", "--jobs-in-flight", "1")
    mine = iq("generate", "A lighthouse", "--quality", "low", "--no-wait", IMAGEQUEUE_API_KEY=secret)
    assert mine.code == 0, mine.err
    assert mine.job_id not in iq("jobs", "list").out
    assert mine.job_id in iq("jobs", "list", IMAGEQUEUE_API_KEY=secret).out
    assert "No job" in one_line(iq("jobs", "show", mine.job_id), 1)
    row = next(line for line in iq("keys", "list").out.splitlines() if key_id in line).split("\t")
    assert (row[1], row[2], row[3], row[7]) == ("studio", key_id, "read submit", f"good, …{secret[-4:]}")
    assert row[5].endswith(" of $20.0000")
    limited = iq("keys", "limit", key_id, "--monthly-budget", "300")
    assert limited.err == f"{key_id}: monthly_budget_usd 300\n"
    assert shown(iq, key_id)["limits"] == {
        **{"jobs_per_minute": None, "jobs_in_flight": None, "daily_budget_usd": None, "monthly_budget_usd": 300.0},
    }
    rotated = iq("keys", "rotate", key_id, "--grace-hours", "1").out.strip()
    for good in (secret, rotated):
        assert iq("jobs", "list", IMAGEQUEUE_API_KEY=good).code == 0
    assert iq("keys", "revoke", key_id).err == f"{key_id} (studio) is refused from now on.\n"
    for bad in (secret, rotated):
        assert "revoked" in one_line(iq("jobs", "list", IMAGEQUEUE_API_KEY=bad), 2)
    assert shown(iq, key_id)["revoked_at"]


def test_keys_share_an_owner_and_may_do_what_they_were_given(iq: Shell) -> None:
    _, reader = made(iq, "reader", "--owner", "local", "--scope", "read")
    assert iq("jobs", "list", IMAGEQUEUE_API_KEY=reader).code == 0
    refused = iq("generate", "A lighthouse", "--no-wait", IMAGEQUEUE_API_KEY=reader)
    assert "lacks the scope 'submit'" in one_line(refused, 2)
    assert "lacks the scope 'admin'" in one_line(iq("keys", "list", IMAGEQUEUE_API_KEY=reader), 2)
    as_json = json.loads(iq("keys", "create", "both", "--scope", "read", "--scope", "admin", "--json").out)
    assert as_json["key"]["scopes"] == ["admin", "read"]
    assert SECRET.fullmatch(as_json["secret"])


def test_a_budget_ends_a_command_with_the_figures(iq: Shell) -> None:
    _, poor = made(iq, "poor", "--daily-budget", "0.001")
    run = iq("generate", "A lighthouse", "--quality", "high", IMAGEQUEUE_API_KEY=poor)
    assert "daily budget of $0.0010 has $0.0000 spent" in one_line(run, 1)
    _, slow = made(iq, "slow", "--jobs-per-minute", "1")
    runs = [iq("generate", "Slow", "--quality", "low", "--no-wait", IMAGEQUEUE_API_KEY=slow) for _ in range(2)]
    assert runs[0].code == 0
    assert "may submit 1 jobs a minute" in one_line(runs[1], 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "x", "--scope", "root"), "scopes"),
        (("create", "x", "--owner", "a:b"), "owner"),
        (("create", "x", "--daily-budget", "-1"), "limits.daily_budget_usd"),
        (("create", ""), "name"),
    ],
)
def test_bad_arguments_are_told_in_one_line(iq: Shell, arguments: tuple[str, ...], told: str) -> None:
    assert one_line(iq("keys", *arguments), 2).startswith(f"{told}: ")


def test_a_key_that_is_not_there_is_told_so(iq: Shell) -> None:
    for command in ("revoke", "rotate", "limit"):
        assert "No API key 'key_none'" in one_line(iq("keys", command, "key_none"), 1)


def test_the_doctor_says_what_is_wrong_with_a_key(iq: Shell) -> None:
    run = iq("doctor", IMAGEQUEUE_API_KEY="iq_" + "x" * 40)
    assert run.code == 1
    assert "✗ api key: This API key is not known here" in run.out
    assert "-> Set IMAGEQUEUE_API_KEY" in run.out


def test_without_an_api_the_commands_say_so(tmp_path: Path) -> None:
    assert "No imagequeue API answers" in one_line(lonely_shell(tmp_path)("keys", "list"), 3)
