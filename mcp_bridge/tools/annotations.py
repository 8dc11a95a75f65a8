"""What clients are told about tools without reading: whether they change, destroy, repeat, or reach outside."""

from __future__ import annotations

from typing import Final

from mcp.types import ToolAnnotations

PAID: Final = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
"""Makes images at OpenAI and adds records; the same call twice may make images twice."""
READS: Final = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
"""Only looks."""
FETCHES: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
"""Changes nothing but what this machine has of it: files are saved, none is overwritten."""
ADDS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)
"""Adds a record."""
STOPS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)
"""Ends something for good."""
