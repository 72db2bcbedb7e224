"""Health, readiness and metrics."""

import asyncio
import urllib.request

from fastapi import APIRouter, Response

from serve.application import Application
from serve.problem import Problem, log_without_text, responses
from serve.schemas import Health, Readiness

READY_SECONDS = 10.0
METRICS_SECONDS = 5.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def router(application: Application) -> APIRouter:
    """`/healthz`, `/readyz`, `/metrics`."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz")
    async def healthz() -> Health:
        """Whether this process answers."""
        return Health(status="ok")

    @routes.get("/readyz", responses=responses())
    async def readyz() -> Readiness:
        """Whether the encoder answers; it does once its weights are loaded."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await application.encoder.describe()
        except Exception as error:
            log_without_text("not ready", error)
            raise Problem(503, "the encoder does not answer yet", {"Retry-After": "5"}) from error
        return Readiness(status="ready")

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **responses(404)},
    )
    async def metrics() -> Response:
        """Prometheus metrics of the node this answer comes from, Ray's own included."""
        address = application.metrics_address
        if address is None:
            raise Problem(404, "this node exports no metrics")
        try:
            text = await asyncio.to_thread(_fetch, address)
        except OSError as error:
            raise Problem(503, "the node's metrics do not answer", {"Retry-After": "5"}) from error
        return Response(text, media_type=METRICS_TYPE)

    return routes


def _fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=METRICS_SECONDS) as answer:
        data: bytes = answer.read()
    return data
