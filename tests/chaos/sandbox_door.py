"""The sandbox's own controls."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import httpx2


class SandboxDoor:
    """Turns the sandbox's knobs; what is asked of it while it is down is left undone."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(base_url=url, timeout=2)

    def add_fault(self, fault: Mapping[str, object], times: int) -> None:
        """Let the next calls suffer."""
        self._post("/sandbox/faults", {"fault": fault, "times": times})

    def set_latency(self, seconds: float) -> None:
        """How long each answer takes from now on."""
        self._post("/sandbox/settings", {"latency_seconds": seconds})

    def clear_faults(self) -> None:
        """Forget the faults that no call has met."""
        self._http.delete("/sandbox/faults").raise_for_status()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _post(self, path: str, body: Mapping[str, object]) -> None:
        with contextlib.suppress(httpx2.TransportError):
            self._http.post(path, json=body).raise_for_status()
