"""The FastAPI application put together."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from pathray import __version__
from serve import problem
from serve.api import catalogue, embed, health, pictures, predict, predictions
from serve.api.page import Page
from serve.application import Application
from serve.guard import Guard
from serve.schemas import PredictRequest

DESCRIPTION = """Tile embeddings and slide predictions of cancer histology.

Errors are `application/problem+json` (RFC 9457). 503 with `Retry-After` means: come again.
All calls are idempotent. Coordinates are level-0 pixels of the slide."""


def create_app(application: Application) -> FastAPI:
    """The API over these services."""
    app = FastAPI(
        title="Pathray",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # its page loads scripts from another site
        redoc_url=None,
    )
    for group in (health, catalogue, embed, predict, predictions, pictures):
        app.include_router(group.router(application))
    problem.install(app)
    app.add_middleware(
        Guard, limits=application.settings.limits, keys=lambda: application.access.keys
    )
    # A route and no mount: Ray Serve labels its metrics with patterns of routes alone.
    app.router.routes.append(Route("/{file:path}", Page(), name="viewer"))
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the key and the problem document described."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        components = schema.setdefault("components", {})
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for model in (problem.ProblemDocument, PredictRequest):
            components.setdefault("schemas", {})[model.__name__] = model.model_json_schema()
        for path, methods in schema["paths"].items():
            for operation in methods.values():
                operation["security"] = [{"key": []}] if path.startswith("/v1/") else []
                # FastAPI's own description of a 422; ours is a problem.
                _as_problem(operation["responses"])
        app.openapi_schema = schema
    return app.openapi_schema


def _as_problem(responses: dict[str, Any]) -> None:
    if "422" in responses:
        responses["422"] = problem.responses(422)[422]
