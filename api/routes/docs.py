"""The OpenAPI document and its page. Everything on the page comes from here: it works without the internet."""

from __future__ import annotations

import json
from typing import Any, Final, cast

from flask import Response
from flask_openapi.openapi import OpenAPI
from flask_openapi_swagger.plugins import RegisterPlugin  # pyright: ignore[reportMissingTypeStubs]

DOCUMENT_PATH: Final = "/openapi.json"
PAGE_PATH: Final = "/docs"


def register_docs(app: OpenAPI) -> None:
    """Serve the document and Swagger UI."""

    def document() -> Response:
        return Response(json.dumps(cast("Any", app).api_doc), mimetype="application/json")

    app.config["SWAGGER_CONFIG"] = {"validatorUrl": None}  # a service on the internet
    app.add_url_rule(DOCUMENT_PATH, view_func=document)
    # The page names its scripts relative to its own address, so both lie in the root.
    app.register_blueprint(RegisterPlugin.register(doc_url=DOCUMENT_PATH))
    app.add_url_rule(PAGE_PATH, endpoint="docs", view_func=app.view_functions["swagger.swagger"])
