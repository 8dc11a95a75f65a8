"""The API as a WSGI application: everything is wired here."""

from __future__ import annotations

from flask_openapi.openapi import OpenAPI

from api.auth import register_auth
from api.context import attach
from api.document import make_application
from api.openai_wire.errors import register_openai_errors
from api.parameters import refuse_repeated_parameters
from api.problems import register_problems
from api.request_body import drain_unread_bodies
from api.request_log import register_request_log
from api.routes.batch_outputs import batch_output_routes
from api.routes.batches import batch_routes
from api.routes.docs import register_docs
from api.routes.estimates import estimate_routes
from api.routes.events import event_routes
from api.routes.health import health_routes
from api.routes.images import image_routes
from api.routes.jobs import job_routes
from api.routes.keys import key_routes
from api.routes.openai import openai_routes
from api.routes.problems import problem_routes
from api.routes.sessions import session_routes
from api.routes.uploads import upload_routes
from api.routes.usage import usage_routes
from api.routes.webhooks import webhook_routes
from api.strictness import refuse_ambiguous_requests
from imagequeue.service import ImageQueue
from imagequeue.settings import Settings


def create_app(queue: ImageQueue, settings: Settings) -> OpenAPI:
    """The application that serves `queue`; whoever opened the queue closes it."""
    app = make_application(__name__)
    app.url_map.merge_slashes = False  # a redirect would stand where a 404 belongs
    attach(app, queue, settings)
    register_request_log(app)
    register_problems(app)
    refuse_ambiguous_requests(app, settings)
    register_auth(app)
    register_openai_errors(app)
    refuse_repeated_parameters(app)
    drain_unread_bodies(app)
    resources = (
        *(job_routes(), image_routes(), session_routes(), upload_routes(), event_routes()),
        *(batch_routes(), batch_output_routes(), estimate_routes(), usage_routes()),
        *(key_routes(), webhook_routes(), openai_routes()),
    )
    for routes in (*resources, health_routes(), problem_routes()):
        app.register_api(routes)
    register_docs(app)
    return app
