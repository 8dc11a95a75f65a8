"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sandbox.api_errors import ApiError
from sandbox.credentials import check_key
from sandbox.image_rules import MODELS

_CREATED: Final = 1_776_729_600  # 2026-04-21, the date in the snapshot's name


async def list_models(request: Request) -> JSONResponse:
    """The models of this server."""
    check_key(request)
    return JSONResponse({"object": "list", "data": [_model(name) for name in MODELS]})


async def get_model(request: Request) -> JSONResponse:
    """One model, or 404."""
    check_key(request)
    name = request.path_params["model"]
    if name not in MODELS:
        message = f"The model '{name}' does not exist."
        raise ApiError(message, status=404, code="model_not_found", param="model")
    return JSONResponse(_model(name))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "imagequeue-sandbox"}


ROUTES: Final = (
    Route("/v1/models", list_models, methods=["GET"]),
    Route("/v1/models/{model}", get_model, methods=["GET"]),
)
