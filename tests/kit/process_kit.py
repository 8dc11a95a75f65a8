"""What a process of this machine costs, as Linux tells it under /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ESTABLISHED: Final = "01"
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A running process. Memory is in MiB."""

    pid: int

    @property
    def resident_mb(self) -> float:
        """Its memory now."""
        return self._status("VmRSS") / 1024

    @property
    def peak_mb(self) -> float:
        """The most memory that it has had."""
        return self._status("VmHWM") / 1024

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return int(self._status("Threads"))

    @property
    def cpu_seconds(self) -> float:
        """What all of its threads have computed since it began."""
        fields = self._folder.joinpath("stat").read_text().rpartition(")")[2].split()
        user, system = fields[11:13]
        return (int(user) + int(system)) / _TICKS

    def connections(self, port: int) -> int:
        """How many open TCP connections it has to this port of any machine."""
        own = {_target(link) for link in self._folder.joinpath("fd").iterdir()}
        rows = [line.split() for line in self._folder.joinpath("net/tcp").read_text().splitlines()[1:]]
        return sum(
            row[3] == _ESTABLISHED and int(row[2].split(":")[1], 16) == port and f"socket:[{row[9]}]" in own
            for row in rows
        )

    @property
    def _folder(self) -> Path:
        return Path("/proc", str(self.pid))

    def _status(self, name: str) -> float:
        lines = self._folder.joinpath("status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""
