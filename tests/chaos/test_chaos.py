"""A short storm in every test run; `make chaos` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos_run import run
from scenario import TINY, make_plan

SEEDS = (3, 11)


def show_nothing(phase: str, faults: int, accepted: int, ended: int) -> None:
    """Nobody looks on."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_storm_of_faults_loses_no_job_and_pays_nothing_twice_in_silence(seed: int, tmp_path: Path) -> None:
    plan = make_plan(seed, TINY)
    outcome = run(plan, tmp_path, show_nothing)
    assert not outcome.violations, f"make chaos SEED={seed} SCALE=tiny; logs: {tmp_path}/logs"
    assert len(outcome.injections) == len(plan.faults)
    assert len(outcome.evidence.records) > plan.jobs / 2
