"""Tiles to embeddings."""

import asyncio
import io
import json
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray

from serve.application import Application
from serve.encoding import EncoderCard
from serve.problem import Problem, responses
from serve.schemas import Embedded
from serve.tiles import MULTIPART, NPY, RAW, tiles_in

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {
            "tiles": {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                "description": "JPEG or PNG files, square, all of one size",
            }
        },
        "required": ["tiles"],
    }
}
BODY = {
    "requestBody": {
        "required": True,
        "description": "square RGB tiles of one size: files, a .npy array uint8 (N, S, S, 3), "
        "or its bare bytes with the query `shape`",
        "content": {MULTIPART: _FORM, NPY: _BINARY, RAW: _BINARY},
    }
}


def router(application: Application) -> APIRouter:
    """`/v1/embed`."""
    routes = APIRouter(prefix="/v1", tags=["embeddings"])

    @routes.post(
        "/embed",
        response_model=Embedded,
        openapi_extra=BODY,
        responses={
            200: {"content": {NPY: _BINARY}, "description": "float16 (N, dim)"},
            **responses(400, 406, 408, 413, 415, 422, 504),
        },
    )
    async def embed(
        request: Request,
        shape: Annotated[
            str | None, Query(description=f"`N,S,S,3` of a body of {RAW}", max_length=64)
        ] = None,
    ) -> Response:
        """Embeddings of tiles, float16, as JSON or (`Accept: application/x-npy`) as .npy.

        A tile that is not of the encoder's size is resized as in the batch jobs.
        """
        as_npy = _wants_npy(request.headers.get("accept"))
        body = await request.body()
        content_type = request.headers.get("content-type")
        tiles = await asyncio.to_thread(
            tiles_in, body, content_type, shape, application.settings.limits
        )
        vectors = await application.encoder.embed(tiles)
        card = await application.encoder_card()
        data = await asyncio.to_thread(_npy if as_npy else _json, vectors, card)
        return Response(
            data,
            media_type=NPY if as_npy else "application/json",
            headers={"X-Encoder-Digest": card.digest},
        )

    return routes


def _wants_npy(accept: str | None) -> bool:
    """By the first type of an `Accept` header that can be given; a 406 problem for none."""
    for part in (accept or "*/*").split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind == NPY:
            return True
        if kind in ("application/json", "application/*", "*/*"):
            return False
    raise Problem(406, f"Accept: the answer is application/json or {NPY}")


def _npy(vectors: NDArray[np.float16], _: EncoderCard) -> bytes:
    sink = io.BytesIO()
    np.save(sink, vectors, allow_pickle=False)
    return sink.getvalue()


def _json(vectors: NDArray[np.float16], card: EncoderCard) -> bytes:
    content: dict[str, Any] = {"encoder": asdict(card), "embeddings": vectors.tolist()}
    return json.dumps(content).encode()
