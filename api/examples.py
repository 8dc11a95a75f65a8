"""Examples of bodies and of errors, for the OpenAPI document; a test holds the former against their models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from api.problems import PROBLEM_TYPES
from imagequeue.batch_requests import BatchChange, CancelRequest, RetryRequest
from imagequeue.batch_views import BatchBody
from imagequeue.key_requests import KeyLimitsRequest, KeyRequest, RotateRequest
from imagequeue.openai_bodies import ImageEdit, ImageGeneration
from imagequeue.requests import (
    ContinueSessionRequest,
    EditRequest,
    ForkSessionRequest,
    GenerateRequest,
    StartSessionRequest,
)
from imagequeue.uploads import UploadRequest
from imagequeue.webhook_views import EndpointRequest

_UPLOADED: Final = "upload:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_JOB_IMAGE: Final = "job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0"
_DOT: Final = "data:image/png;base64," + (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)
"""A red pixel."""

BODY_EXAMPLES: Final[Mapping[type[BaseModel], Mapping[str, Mapping[str, object]]]] = {
    GenerateRequest: {
        "generate": {
            "type": "generate",
            "prompt": "A lighthouse at dawn, oil on canvas",
            "size": "1536x1024",
            "quality": "medium",
        }
    },
    EditRequest: {
        "edit": {"type": "edit", "prompt": "Add a red boat", "images": ["https://example.com/room.png"]},
        "edit an upload": {"type": "edit", "prompt": "Add a red boat", "images": [_UPLOADED]},
        "edit an image made here": {"type": "edit", "prompt": "Make it night", "images": [_JOB_IMAGE]},
    },
    StartSessionRequest: {"session": {"prompt": "Make it night", "images": [_DOT], "quality": "low"}},
    ContinueSessionRequest: {"turn": {"prompt": "Now with a full moon", "quality": "low"}},
    ForkSessionRequest: {"last image": {}, "image of the first turn": {"turn": 1}},
    UploadRequest: {"announce": {"sha256": _UPLOADED.removeprefix("upload:"), "size_bytes": 48_213}},
    KeyRequest: {
        "key": {"name": "studio", "owner": "team-a", "limits": {"jobs_per_minute": 60, "daily_budget_usd": 20}},
    },
    KeyLimitsRequest: {"limits": {"limits": {"jobs_in_flight": 10}}, "no limits": {"limits": {}}},
    RotateRequest: {"at once": {}, "with an hour's grace": {"grace_seconds": 3600}},
    EndpointRequest: {"endpoint": {"url": "https://example.com/imagequeue"}},
    BatchBody: {
        "batch": {
            "name": "Spring catalogue",
            "max_cost_usd": 10,
            "lines": [{"custom_id": "dawn", "prompt": "A lighthouse at dawn"}, {"prompt": "A lighthouse in fog"}],
        },
        "template": {
            "template": {"prompt": "A {animal} in the style of {style}", "quality": "low"},
            "variables": {"animal": ["cat", "dog"], "style": ["oil", "ink"]},
        },
    },
    BatchChange: {"cap": {"max_cost_usd": 20}, "no cap": {"max_cost_usd": None}},
    CancelRequest: {"waiting lines": {}, "those in flight, too": {"running": True}},
    RetryRequest: {"failed lines": {}, "refused ones, too": {"states": ["failed", "refused"]}},
    ImageGeneration: {"generation": {"model": "gpt-image-2", "prompt": "A lighthouse at dawn", "quality": "low"}},
    ImageEdit: {
        "edit": {
            "model": "gpt-image-2",
            "prompt": "Make it night",
            "images": [{"image_url": "https://example.com/room.png"}],
        }
    },
}
"""By model of the body, then by name."""

PROBLEM_EXAMPLES: Final[Mapping[str, Mapping[str, object]]] = {
    kind.code: {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.meaning,
        "code": kind.code,
        "instance": "/v1/jobs",
    }
    for kind in PROBLEM_TYPES.values()
}
"""By code."""
