"""A seed stands for one plan, and plans are what the runs need."""

from __future__ import annotations

import pytest
from scenario import LONG, OPENAI_FAULTS, SHORT, TINY, WORKERS, Scale, links_of, make_plan

SEEDS = range(200)


def test_a_seed_gives_the_same_plan_again_and_another_one_another() -> None:
    assert make_plan(7, LONG) == make_plan(7, LONG)
    assert make_plan(7, LONG) != make_plan(8, LONG)


@pytest.mark.parametrize("scale", [LONG, SHORT, TINY])
def test_the_load_has_as_many_jobs_as_the_scale_says_each_with_a_prompt_of_its_own(scale: Scale) -> None:
    plan = make_plan(1, scale)
    prompts = [job.prompt for errand in plan.errands for job in errand.jobs]
    assert len(prompts) == len(set(prompts)) == plan.jobs == scale.jobs


def test_no_target_suffers_two_faults_at_once() -> None:
    for seed in SEEDS:
        free_at: dict[str, float] = {}
        for fault in make_plan(seed, LONG).faults:
            if fault.action != "openai":
                assert free_at.get(fault.target, 0.0) <= fault.at, (seed, fault)
                free_at[fault.target] = fault.at + fault.seconds


def test_together_the_seeds_hurt_every_part_every_link_and_every_kind_of_call() -> None:
    faults = [fault for seed in SEEDS for fault in make_plan(seed, LONG).faults]
    links = {name for name, _ in links_of(WORKERS)}
    assert {fault.target for fault in faults} == {*WORKERS, "redis", "s3", "sandbox", "api", *links, *OPENAI_FAULTS}
    actions = {fault.action for fault in faults}
    assert actions == {"kill", "stop", "pause", "cut", "drop", "silence", "slow", "reset", "openai"}


def test_some_seeds_run_under_the_default_limits_and_most_without_any() -> None:
    tough = sum(make_plan(seed, TINY).tough for seed in SEEDS)
    assert len(SEEDS) / 2 < tough < len(SEEDS)
