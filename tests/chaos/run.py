"""`make chaos`: many seeds, each a stack, a load and a storm of its own; exits 1 when a promise was broken."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from chaos_report import Tally
from chaos_run import Outcome, run
from invariants import Violation
from rich.console import Console
from rich.status import Status
from scenario import LONG, SHORT, TINY, Scale, make_plan

SCALES: Final = {"long": LONG, "short": SHORT, "tiny": TINY}
_SHOWN: Final = 3
_SHOWN_CHARACTERS: Final = 600


def main() -> int:
    """Run the seeds that the command line asks for."""
    options = _options()
    signal.signal(signal.SIGTERM, _leave)
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    console, tally, failed = Console(), Tally(), list[int]()
    for seed in seeds:
        outcome, folder, seconds = _run_seed(seed, SCALES[options.scale], console)
        tally.add(outcome)
        _show_line(outcome, seconds, console)
        if outcome.violations:
            failed.append(seed)
            _show_violations(outcome, folder, options.scale, console)
        elif options.keep:
            console.print(f"  logs: {folder}", soft_wrap=True)
        else:
            shutil.rmtree(folder)
    console.print(tally.table())
    console.print("  ".join(f"{state}: {count:,}" for state, count in sorted(tally.states.items())))
    console.print(
        f"{len(seeds)} seeds, {len(failed)} with violations {failed or ''}", style="red" if failed else "green"
    )
    return 1 if failed else 0


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End as by an exception, so that the stack is ended too."""
    sys.exit(128 + number)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this seed alone")
    parser.add_argument("--scale", choices=SCALES, default="long", help="how large each run is")
    parser.add_argument("--keep", action="store_true", help="keep the logs of good runs too")
    return parser.parse_args()


def _run_seed(seed: int, scale: Scale, console: Console) -> tuple[Outcome, Path, float]:
    plan, folder, began = make_plan(seed, scale), Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-")), time.monotonic()
    with Status(f"seed {seed}: starting", console=console) as status:

        def show(phase: str, faults: int, accepted: int, ended: int) -> None:
            total = f"faults {faults}/{len(plan.faults)}, jobs accepted {accepted}/{plan.jobs}, ended {ended}"
            status.update(f"seed {seed}: {phase}: {total}, {time.monotonic() - began:.0f} s")

        try:
            outcome = run(plan, folder, show)
        except BaseException:
            console.print(f"seed {seed} broke off; its logs are in {folder}", style="red", soft_wrap=True)
            raise
    return outcome, folder, time.monotonic() - began


def _show_line(outcome: Outcome, seconds: float, console: Console) -> None:
    evidence = outcome.evidence
    fates = [sent.fate for sent in evidence.submissions]
    deaths = ", ".join(f"{name} {count}" for name, count in outcome.deaths.items())
    console.print(
        f"seed {outcome.plan.seed} ({'tough' if outcome.plan.tough else 'default limits'}): "
        f"{len(outcome.injections)} faults, {fates.count('accepted')} accepted, {fates.count('perhaps')} perhaps, "
        f"{fates.count('refused')} refused, {len(evidence.records)} jobs, {len(evidence.calls)} calls, "
        f"{len(outcome.violations)} violations; {seconds:.0f} s (load {outcome.load_seconds:.0f}, "
        f"settled in {outcome.settle_seconds:.1f}){f'; ended by themselves: {deaths}' if deaths else ''}",
        style="red" if outcome.violations else "",
        soft_wrap=True,
        highlight=False,
    )


def _show_violations(outcome: Outcome, folder: Path, scale: str, console: Console) -> None:
    by_rule = {violation.rule: list[Violation]() for violation in outcome.violations}
    for violation in outcome.violations:
        by_rule[violation.rule].append(violation)
    for rule, found in by_rule.items():
        console.print(f"  {rule}: {len(found)} violations", style="red", highlight=False)
        for violation in found[:_SHOWN]:
            text = f"    {violation.job_id} {violation.detail}"
            console.print(text[:_SHOWN_CHARACTERS], style="red", markup=False, highlight=False, soft_wrap=True)
    replay = f"make chaos SEED={outcome.plan.seed}{'' if scale == 'long' else f' SCALE={scale}'}"
    console.print(f"  again: {replay}\n  logs:  {folder}{os.sep}logs", style="red", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
