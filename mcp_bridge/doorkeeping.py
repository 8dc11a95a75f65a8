"""What the ways to the queue have in common: one gives doors, to its own bridge or to whoever calls with a good key."""

from __future__ import annotations

from typing import Final, Protocol

from imagequeue.api_keys import Scope
from imagequeue.errors import Forbidden
from mcp_bridge.door import Door

DOORS_KEPT: Final = 100
_NEEDED: Final = frozenset({Scope.SUBMIT, Scope.READ})


class Doorkeeper(Protocol):
    """One way to the queue, for anybody. Every method raises ImageQueueError when the queue cannot be reached."""

    async def own(self) -> Door:
        """The door of whoever runs the bridge."""
        ...

    async def admit(self, secret: str | None) -> Door:
        """The door of whoever calls with this API key, or with none.

        Raises:
            Unauthorized, Forbidden: the caller gets none.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


def check_scopes(scopes: frozenset[Scope]) -> None:
    """Let nobody in whose key cannot be of use.

    Raises:
        Forbidden: it lacks a scope.
    """
    missing = ", ".join(sorted(_NEEDED - scopes))
    if missing:
        raise Forbidden(f"This API key cannot use the MCP tools: it lacks {missing}.")
