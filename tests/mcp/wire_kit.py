"""The bridge over HTTP as it is on the wire, without a client in between."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import httpx2
from bridge_kit import HttpBridge
from fleet_kit import Fleet

TASKS: Final = "io.modelcontextprotocol/tasks"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Wire:
    """Says JSON-RPC to a bridge."""

    bridge: HttpBridge
    extensions: Mapping[str, object]
    key: str | None = None

    def __call__(self, method: str, headers: Mapping[str, str] | None = None, **params: Any) -> dict[str, Any]:
        """Send a request of the revision 2026-07-28; gives its answer: result or error."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": self.extensions},
        }
        answer = self.post(method, {**params, "_meta": meta}, headers)
        data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        return cast("dict[str, Any]", json.loads(data[-1] if data else answer.text))

    def post(self, method: str, params: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> httpx2.Response:
        """Send a request with the headers that belong to it."""
        named = params.get("taskId") or params.get("name") or params.get("uri") or ""
        return httpx2.post(
            self.bridge.url,
            json={"jsonrpc": "2.0", "id": next(_numbers), "method": method, "params": params},
            headers={
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": "2026-07-28",
                "Mcp-Method": method,
                "Mcp-Name": named,
                **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
                **(headers or {}),
            },
            timeout=60,
            trust_env=False,
        )

    def result(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request that must succeed."""
        answer = self(method, **params)
        assert "result" in answer, answer
        return cast("dict[str, Any]", answer["result"])

    def generate(self, prompt: str) -> dict[str, Any]:
        """Call generate_image."""
        return self.result("tools/call", name="generate_image", arguments={"prompt": prompt, "quality": "low"})

    def settled(self, fleet: Fleet, task_id: str) -> dict[str, Any]:
        """The task once it has ended."""
        fleet.finished(fleet.queue.get(task_id))
        return self.result("tasks/get", taskId=task_id)
