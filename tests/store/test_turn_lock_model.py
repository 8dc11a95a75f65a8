"""The turn lock in every interleaving: in order, one holder, nothing lost, nothing twice, no stale image.

turn_lock_model.py says what is explored. That the check can fail is shown with scripts that are each broken in one
place.
"""

from __future__ import annotations

import sys
from typing import Final

import pytest
from store_kit import BenchMaker
from turn_lock_model import Model
from turn_lock_rules import Violation
from turn_lock_state import Budget

from imagequeue.store import scripts
from imagequeue.store.scripts import ScriptSource

# With the least number of states that must have been visited. All at once would take ten times as long.
BUDGETS: Final = {
    "workers crash and fall silent": (Budget(crashes=1, lapses=2, failures=1), 3_000),
    "workers fall silent and turns are released": (Budget(lapses=1, failures=1, releases=1), 1_100),
    "turns are released and cancelled": (Budget(failures=1, releases=1, cancels=1), 300),
    "turns are cancelled and the session ends": (Budget(lapses=1, failures=1, cancels=1, ends=1), 2_800),
}

# What is broken: a piece of a script, what takes its place, and the rule that catches it.
BROKEN: Final = {
    "claim without the head check": (
        "if session_id and redis.call('ZRANGE', turns, 0, 0)[1] ~= job_id then",
        "if false then",
        "no turn starts or succeeds before its predecessors end",
    ),
    "claim of what runs": (
        "if state ~= 'queued' then\n  return {'not_queued'}\nend",
        "",
        "the running attempt alone has a lease",
    ),
    "finish without the fence": (
        "if current ~= attempt or current_holder ~= holder then\n  return {'refused', ''}",
        "if false then\n  return {'refused', ''}",
        "only the current attempt is served",
    ),
    "finish without the image": (
        "if session_image ~= '' then",
        "if false then",
        "the session's image is the last good",
    ),
    "finish without promotion": (
        "return promote_turn(turns, waiting, outbox, now)",
        "return ''",
        "the queue holds the first",
    ),
    "a failed turn lets the next one run": (
        "if has_image and final_state ~= 'failed' then",
        "if has_image then",
        "what waits behind a failed turn is halted",
    ),
    "a halted turn is forgotten": (
        "redis.call('ZADD', halted, now, job_id .. ':' .. reason)",
        "",
        "no turn is lost or out of order",
    ),
    "a release keeps the lock": (
        "redis.call('HDEL', session, 'turn_lock')\nend\nredis.call('ZADD', waiting, place, job_id)",
        "end\nredis.call('ZADD', waiting, place, job_id)",
        "without a running turn nobody holds the lock",
    ),
    "a sweep loses the turn": (
        "redis.call('HSET', job, 'state', 'queued')\nredis.call('ZADD', waiting, place, job_id)",
        "redis.call('HSET', job, 'state', 'queued')",
        "the queue holds the first",
    ),
    "a stale worker hands its image over": (
        "if current ~= attempt or current_holder ~= holder then\n  return {'refused', ''}",
        "if current ~= attempt or current_holder ~= holder then\n"
        "  if session_image ~= '' then redis.call('HSET', session, 'image', session_image) end\n"
        "  return {'refused', ''}",
        "the session's image is the last good",
    ),
}


@pytest.mark.parametrize("trouble", BUDGETS)
def test_no_interleaving_breaks_a_rule(
    open_bench: BenchMaker, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    budget, least_states = BUDGETS[trouble]
    report = Model(open_bench("redis"), budget).explore()
    with capsys.disabled():
        sys.stdout.write(f"\n{trouble}: {report}\n")
    everyone = {("succeeded",) * turns for turns in (2, 3)}
    assert report.endings >= everyone | {("failed", "cancelled"), ("succeeded", "failed", "cancelled")}
    assert report.states > least_states


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_script_breaks_a_rule(open_bench: BenchMaker, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    piece, instead, rule = BROKEN[fault]
    intact = scripts.source

    def broken(name: str) -> ScriptSource:
        found = intact(name)
        return ScriptSource(found.text.replace(piece, instead), found.key_names)

    assert any(piece in intact(name).text for name in ("claim", "finish", "release", "sweep"))
    monkeypatch.setattr(scripts, "source", broken)
    with pytest.raises(Violation, match=rule):
        Model(open_bench("redis"), Budget(crashes=1, lapses=1, failures=1, releases=1)).explore()
