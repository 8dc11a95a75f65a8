"""What the tools' descriptions tell of the bridge that serves them, so that every figure in them is true there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from imagequeue.settings import Settings


@dataclass(frozen=True, slots=True)
class Facts:
    """Figures of one bridge."""

    local: bool  # on the user's own machine: it reads and saves files
    wait_seconds: float
    idle: str  # how long a session lives unused, such as `24 hours`
    waiting_turns: str  # how many turns of a session may wait, such as `100`
    data_mb: int  # what data: URLs of one call may hold together, decoded

    @classmethod
    def of(cls, settings: Settings, *, local: bool, direct: bool) -> Self:
        """Those of a bridge with these settings; `direct` when they are the queue's own too, not behind an API."""
        doubt = "" if direct else " by default"
        return cls(
            local=local,
            wait_seconds=settings.mcp_wait_seconds,
            idle=f"{settings.session_idle_hours:g} hours{doubt}",
            waiting_turns=f"{settings.max_waiting_turns}{doubt}",
            data_mb=settings.max_edit_body_bytes * 3 // 4 // 1_000_000,
        )
