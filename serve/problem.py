"""Errors as `application/problem+json` (RFC 9457), without internals."""

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from pathray.errors import PathrayError

log = logging.getLogger("ray.serve.pathray")
MEDIA_TYPE = "application/problem+json"


class Problem(HTTPException):
    """An answer that is an error. `detail` is told to the client: it names no internals."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers) if headers else None)


class ProblemDocument(BaseModel):
    """What every error says (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="what was wrong, and what to do")


def busy(detail: str, retry_after_s: int) -> Problem:
    """503: come again after so many seconds."""
    return Problem(503, detail, {"Retry-After": str(retry_after_s)})


def respond(problem: StarletteHTTPException) -> JSONResponse:
    """The response of a problem."""
    title = HTTPStatus(problem.status_code).phrase
    document = ProblemDocument(
        title=title, status=problem.status_code, detail=str(problem.detail or title)
    )
    return JSONResponse(
        document.model_dump(), problem.status_code, problem.headers, media_type=MEDIA_TYPE
    )


def log_without_text(what: str, error: BaseException) -> None:
    """The type of an error and where it came from; its text may name a patient's slide."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s: %s\n%s", what, type(error).__name__, frames)


def install(app: FastAPI) -> None:
    """Make all errors of the application problems."""

    async def known(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StarletteHTTPException)
        return respond(error)

    async def refused(_: Request, error: Exception) -> JSONResponse:
        return respond(Problem(422, str(error)))

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return respond(Problem(422, f"{_place(first['loc'])}: {first['msg']}"))

    app.add_exception_handler(StarletteHTTPException, known)
    app.add_exception_handler(PathrayError, refused)
    app.add_exception_handler(RequestValidationError, invalid)


def _place(location: Any) -> str:
    return ".".join(str(part) for part in location)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for its OpenAPI description."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*statuses, 401, 500, 503})
    }
