"""The Lua scripts keep what their headers promise, and the rules that no engine checks before it is too late."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import imagequeue.store
from imagequeue.jobs import JobState
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import source

STORE = Path(imagequeue.store.__path__[0])
FILES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((STORE / "scripts").glob("*.lua"))}
LIBRARIES = {name: FILES.pop(name) for name in sorted(FILES) if name.startswith("_")}
ALL = {**FILES, **LIBRARIES}
KEYS = Keys("p:")
SUPPLIED = {
    *KEYS.for_job("job", "owner", "batch", "session", "key", "batch"),
    *KEYS.for_fleet(),
    *KEYS.for_webhook_owner("owner"),
    *KEYS.for_delivery("dlv_1", "owner", "job_1", "https://example.com:443"),
    *KEYS.for_archive("owner", 1),
    *KEYS.for_parcel("batch", "parcel"),
    *(
        "index_final",
        "suspect",
        "delivery",
        "idempotency",
        "by_digest",
        "by_old_digest",
        "by_older_digest",
        "open_calls",
        "parcel_generations",
        "parcel_edits",
    ),
}

HEADER = re.compile(
    r"-- [A-Z][^\n]*(?:\n-- [^\n]+)*?\.\n(?:-- USES: [\w, ]+\n)?-- KEYS: [^\n]+\n"
    r"-- ARGV: (?P<arguments>[^\n]+(?:\n--   [^\n]+)*)\n"
    r"-- Returns: (?P<returns>[^\n]+(?:\n--   [^\n]+)*)\n(?!--)"
)
KEYS_LOCAL = re.compile(r"local ([\w,\s]+?)\s*=\s*(?:unpack\(KEYS\)|KEYS\[1\])")
PARAMETERS = re.compile(r"local function \w+\(([^)]*)\)")
LIBRARY_FUNCTIONS = {
    name: [part.strip() for part in given.split(",") if part.strip()]
    for name, given in re.findall(r"^local function (\w+)\(([^)]*)\)", "\n".join(LIBRARIES.values()), re.M)
}
SESSION_HELPERS = {
    "promote_turn": ["turns", "waiting", "outbox"],
    "halt_turns": ["turns", "halted"],
    "leave_session": ["session", "turns", "halted", "waiting", "outbox"],
}
HELPERS = {
    "record_event": ["job", "events", "changes"],
    "move_index": ["from", "to"],
    "patch_attempt": ["job"],
    "clear_suspect": ["suspect"],
    "note_end": ["job", "finished", "usage"],
    "known_submit": ["idempotency"],
    "note_reusable": ["reuse"],
    "forget_reusable": ["reuse"],
    "take_pace": ["pace"],
    "has_copies": ["copies"],
    "store_reused": [
        *("job", "index_all", "index_succeeded", "events", "changes", "finished", "usage", "reuse", "copies"),
        *("webhook_endpoints", "webhook_announced"),
    ],
    "announce": ["webhook_endpoints", "webhook_announced"],
    "note_receiver": ["webhook_due", "webhook_receivers", "webhook_failing"],
    "limiter_state": ["limiter"],
    "limiter_take": ["limiter"],
    "store_job": ["job", "waiting", "outbox", "index_all", "index_queued"],
    "note_batch": ["batch", "changes", "webhook_endpoints", "webhook_announced"],
    "has_lines": ["batch", "batch_again"],
    "end_batch": [
        *("batch", "batch_again", "batches_active", "batches_resuming", "batches_over", "changes"),
        *("webhook_endpoints", "webhook_announced"),
    ],
    "line_ended": ["batch", "batch_lines", "batch_ended"],
    "settle_line": [
        *("batch", "batch_lines", "batch_ended", "batch_again", "batches_active", "batches_resuming"),
        *("batches_flying", "batches_over", "changes", "webhook_endpoints", "webhook_announced", "job"),
    ],
    "reserve_repeat": ["batch", "job"],
    "line_refusal": ["batch", "batch_again"],
    "begin_line": ["batch", "batch_lines", "batch_again", "batch_earlier", "batches_active"],
    "wait_for_room": [
        *("batch", "batches_active", "batches_resuming", "changes", "webhook_endpoints", "webhook_announced"),
    ],
    "room_refusal": [
        *("batch", "batches_active", "batches_resuming", "changes", "webhook_endpoints", "webhook_announced"),
        *("api_key", "reserved", "spending", "pace"),
    ],
    "key_refusal": ["api_key", "reserved", "spending", "pace"],
    "reserve": ["reserved", "spending"],
    "settle": ["reserved", "spending"],
    "job_cost": ["job"],
    **SESSION_HELPERS,
}
LOCAL_NAMES = re.compile(
    r"local (?!function)([\w, \n]+?)\s*(?:=|$)|\bfor ([\w, ]+) (?:in|=)|local function (\w+)\(", re.M
)
LOCAL_LIST = re.compile(r"\blocal [\w, \n]+=(?!=)")
ASSIGNED = re.compile(r"^\s*(?!local |for )([A-Za-z_][\w, ]*?)\s*=(?!=)", re.M)
FIRST_ARGUMENT = re.compile(r"redis\.call\(\s*'(\w+)'\s*(?:,\s*([^,)]+))?")


def names_in(text: str) -> list[str]:
    """The names in a Lua name list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def code_of(text: str) -> str:
    """A script without its comments."""
    return re.sub(r"--[^\n]*", "", text)


def parameters_in(text: str) -> set[str]:
    """The parameters of the functions that a script defines."""
    return {name for found in PARAMETERS.findall(text) for name in names_in(found)}


@pytest.mark.parametrize("name", FILES)
def test_the_header_says_purpose_keys_arguments_and_returns(name: str) -> None:
    assert HEADER.match(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_the_header_names_the_keys_in_the_order_in_which_the_script_takes_them(name: str) -> None:
    (taken,) = KEYS_LOCAL.findall(FILES[name])
    assert list(source(name).key_names) == names_in(taken)


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_used_and_supplied(name: str) -> None:
    code = code_of(FILES[name])
    for key_name in source(name).key_names:
        assert len(re.findall(rf"\b{key_name}\b", code)) > 1, key_name
        assert key_name in SUPPLIED


@pytest.mark.parametrize("name", FILES)
def test_the_header_lists_every_answer(name: str) -> None:
    header = HEADER.match(FILES[name])
    assert header
    promised, given = (set(re.findall(r"'(\w+)'", header[part])) for part in ("returns", "arguments"))
    assert set(re.findall(r"\breturn \{?'(\w+)'", code_of(FILES[name]))) <= promised
    code = code_of(source(name).text)
    assert promised <= set(re.findall(r"'(\w+)'", code)) | given


@pytest.mark.parametrize("name", [*FILES, *LIBRARIES])
def test_no_script_sets_a_global(name: str) -> None:
    code = code_of(ALL[name])
    known = parameters_in(code)
    for groups in LOCAL_NAMES.findall(code):
        known.update(part for group in groups for part in names_in(group))
    assigned = [part for found in ASSIGNED.findall(LOCAL_LIST.sub("", code)) for part in names_in(found)]
    assert set(assigned) <= known
    assert not re.search(r"^\s*function ", code, re.M)
    assert not re.search(r"\b(_G|rawset|setfenv)\b", code)


@pytest.mark.parametrize("name", [*FILES, *LIBRARIES])
def test_no_key_is_built_inside_lua(name: str) -> None:
    code = code_of(ALL[name])
    allowed = parameters_in(code)
    if name in FILES:
        allowed |= set(source(name).key_names)
    calls = FIRST_ARGUMENT.findall(code)
    assert len(calls) == code.count("redis.call("), "every call is understood"
    for command, key in calls:
        assert command == "TIME" or key in allowed, (command, key)


@pytest.mark.parametrize("name", [*FILES, *LIBRARIES])
def test_helpers_are_given_the_keys_that_they_name(name: str) -> None:
    """Keys are found by name: a script that swapped two would have to rename them."""
    code = code_of(ALL[name])
    allowed = parameters_in(code) | (set(source(name).key_names) if name in FILES else set[str]())
    for helper, takes in HELPERS.items():
        for arguments in re.findall(rf"(?<!function )\b{helper}\(([^)]*)", code):
            given = names_in(arguments)
            assert set(given[: len(takes)]) <= allowed
            if helper in SESSION_HELPERS:
                assert given[: len(takes)] == takes


def test_every_script_is_used_and_every_used_script_exists() -> None:
    modules = "".join(path.read_text(encoding="utf-8") for path in STORE.glob("*.py"))
    pipelined = re.findall(r'return "(\w+)", keys, \[', modules)
    assert {*re.findall(r'\.run\(\s*"(\w+)"', modules), *pipelined} == set(FILES)


def test_every_helper_is_used() -> None:
    code = "".join(map(code_of, ALL.values()))
    for helper in re.findall(r"local function (\w+)\(", "\n".join(LIBRARIES.values())):
        assert re.search(rf"(?<!function )\b{helper}\(", code), helper


def test_every_helper_that_takes_keys_is_checked() -> None:
    takes_keys = {name for name, given in LIBRARY_FUNCTIONS.items() if set(given) & {*SUPPLIED, "from"}}
    assert takes_keys == set(HELPERS)


def test_scripts_know_no_clock_but_that_of_redis() -> None:
    for name, text in ALL.items():
        assert not re.search(r"\bos\.|\bmath\.random", code_of(text)), name


def test_a_script_without_a_header_is_refused() -> None:
    with pytest.raises(LookupError, match=r"scripts/_lib\.lua has no KEYS line"):
        source("_lib")


def test_all_keys_lie_under_the_prefix_and_are_distinct() -> None:
    job, fleet = KEYS.for_job("job_1", "owner", "batch", "ses_1", "key_1", "batch_1"), KEYS.for_fleet()
    singles = (KEYS.workers, KEYS.sweeper, KEYS.probe("n"), KEYS.waiting("interactive"), KEYS.suspect("w"))
    spelled = {*job.values(), *fleet.values(), *singles}
    assert all(key.startswith("p:") for key in spelled)
    assert len(spelled) == len({*job, *fleet}) + len(singles) - 2, "workers and the lane's parked are named twice"
    assert {f"index_{state}" for state in JobState} < set(job)
