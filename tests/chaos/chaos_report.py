"""What a series of runs showed, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos_run import Outcome, calls_by_fault
from invariants import lost, silent_doubles
from rich import box
from rich.table import Table


@dataclass
class Row:
    """What one kind of fault did to the jobs that ran when it struck."""

    injected: int = 0
    hit: int = 0
    survived: int = 0
    lost: int = 0
    silent: int = 0
    visible: int = 0


@dataclass
class Tally:
    """All runs together."""

    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    total: Row = field(default_factory=Row)
    states: Counter[str] = field(default_factory=Counter[str])

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        hits: list[tuple[str, int, set[str]]] = [
            (injection.fault.kind, 1, set(injection.running))
            for injection in outcome.injections
            if injection.fault.action != "openai"
        ]
        for name, calls in calls_by_fault(outcome.evidence.calls).items():
            hits.append((f"openai {name}", len(calls), {call.job_id for call in calls}))
        for kind, injected, jobs in hits:
            _count(self.rows.setdefault(kind, Row()), injected, jobs, outcome)
        _count(self.total, len(outcome.injections), set(outcome.evidence.records), outcome)
        self.states.update(
            f"{job.state} {job.error_code}" if job.state == "failed" else job.state
            for job in outcome.evidence.records.values()
        )

    def table(self) -> Table:
        """One line for each kind of fault, and one for all jobs."""
        names = ("fault", "injected", "jobs\nhit", "survived", "lost", "doubled\nin silence", "doubled\nvisibly")
        table = Table(*names, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for column in table.columns:
            column.no_wrap, column.justify = True, "right"
        table.columns[0].justify = "left"
        for kind, row in sorted(self.rows.items()):
            table.add_row(kind, *_figures(row))
        table.add_section()
        table.add_row("all jobs", *_figures(self.total))
        return table


def _count(row: Row, injected: int, jobs: set[str], outcome: Outcome) -> None:
    evidence = outcome.evidence
    doubled = {
        job.id for job in evidence.records.values() if any(attempt.maybe_billed_for_nothing for attempt in job.attempts)
    }
    gone = lost(evidence)
    row.injected += injected
    row.hit += len(jobs)
    row.lost += len(jobs & gone)
    row.survived += len(jobs - gone)
    row.silent += sum(call.job_id in jobs for call in silent_doubles(evidence))
    row.visible += len(jobs & doubled)


def _figures(row: Row) -> Sequence[str]:
    return [f"{figure:,}" for figure in (row.injected, row.hit, row.survived, row.lost, row.silent, row.visible)]
