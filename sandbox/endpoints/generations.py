"""`POST /v1/images/generations`: text to image."""

from __future__ import annotations

from typing import Final

from starlette.routing import Route

from sandbox.image_answers import generated_answer
from sandbox.image_rules import check_generation
from sandbox.paid_calls import PaidEndpoint, noted
from sandbox.request_bodies import read_json
from sandbox.usage import cost_of, use_of

GENERATIONS: Final = PaidEndpoint(
    "/v1/images/generations", read_json, noted, check_generation, use_of, cost_of, generated_answer
)

ROUTES: Final = (Route(GENERATIONS.path, GENERATIONS.serve, methods=["POST"]),)
