"""Pictures of finished predictions: the slide, its heatmap, its most attended tiles.

Slide and heatmap are deep-zoom images (DZI) of the same geometry, so that a viewer lays one
over the other. Only slides of finished predictions are opened.
"""

import asyncio
from collections import OrderedDict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from pathray.errors import SlideError
from pathray.heatmap import Heatmap, encode_png
from pathray.slides.deepzoom import DeepZoom
from serve.api.predictions import Id
from serve.application import Application
from serve.drawing import ATTENTION, HEATMAP, THUMBNAIL, read_heatmap, top_tile
from serve.problem import Problem, responses

JPEG, PNG, XML = "image/jpeg", "image/png", "application/xml"
PARQUET = "application/vnd.apache.parquet"
HELD_HEATMAPS = 16
# A finished prediction never changes; its pictures are not for shared caches.
CACHED = {"Cache-Control": "private, max-age=86400, immutable"}

Level = Annotated[int, Path(ge=0, le=40)]
Place = Annotated[int, Path(ge=0, le=2**31)]


def router(application: Application) -> APIRouter:
    """Below `/v1/predictions/{id}/`."""
    routes = APIRouter(prefix="/v1/predictions/{id}", tags=["pictures"])
    maps: OrderedDict[str, Heatmap] = OrderedDict()

    async def file(id: str, name: str) -> bytes:
        data = await asyncio.to_thread(application.store().file, id, name)
        if data is None:
            raise Problem(404, "there is no such picture, or the prediction is not done")
        return data

    async def heatmap(id: str) -> Heatmap:
        if id not in maps:
            maps[id] = await asyncio.to_thread(read_heatmap, await file(id, ATTENTION))
            if len(maps) > HELD_HEATMAPS:
                maps.popitem(last=False)
        return maps[id]

    @routes.get("/thumbnail.jpeg", **_kind(JPEG))
    async def thumbnail(id: Id) -> Response:
        """The whole slide, at most about 2,048 pixels wide."""
        return _answer(await file(id, THUMBNAIL), JPEG)

    @routes.get("/heatmap.png", **_kind(PNG))
    async def whole_heatmap(id: Id) -> Response:
        """Attention over the whole slide as ranks, transparent where there is no tile."""
        return _answer(await file(id, HEATMAP), PNG)

    @routes.get("/attention.parquet", **_kind(PARQUET))
    async def attention(id: Id) -> Response:
        """Columns x, y (level-0 pixels) and attention, a row a tile."""
        return _answer(await file(id, ATTENTION), PARQUET)

    @routes.get("/tiles/{rank}.jpeg", **_kind(JPEG))
    async def tile(id: Id, rank: Annotated[int, Path(ge=0, le=99)]) -> Response:
        """One of the most attended tiles."""
        return _answer(await file(id, top_tile(rank)), JPEG)

    @routes.get("/slide.dzi", **_kind(XML))
    async def slide_descriptor(id: Id) -> Response:
        """The slide's deep-zoom descriptor."""
        drawn = await heatmap(id)
        return _answer(DeepZoom(drawn.width, drawn.height).descriptor("jpeg").encode(), XML)

    @routes.get("/heatmap.dzi", **_kind(XML))
    async def heatmap_descriptor(id: Id) -> Response:
        """The heatmap's deep-zoom descriptor."""
        drawn = await heatmap(id)
        return _answer(DeepZoom(drawn.width, drawn.height).descriptor("png").encode(), XML)

    @routes.get("/slide_files/{level}/{column}_{row}.jpeg", **_kind(JPEG))
    async def slide_square(id: Id, level: Level, column: Place, row: Place) -> Response:
        """A square of the slide."""
        application.store()
        data = None
        if application.views is not None:
            try:
                data = await application.views.square(id, level, column, row)
            except SlideError as error:
                raise Problem(502, str(error)) from error
        if data is None:
            raise Problem(404, "there is no such square")
        return _answer(data, JPEG)

    @routes.get("/heatmap_files/{level}/{column}_{row}.png", **_kind(PNG))
    async def heatmap_square(id: Id, level: Level, column: Place, row: Place) -> Response:
        """A square of the heatmap."""
        drawn = await heatmap(id)
        return _answer(await asyncio.to_thread(_square, drawn, level, column, row), PNG)

    return routes


def _square(drawn: Heatmap, level: int, column: int, row: int) -> bytes:
    zoom = DeepZoom(drawn.width, drawn.height)
    try:
        x, y, width, height = zoom.box(level, column, row)
    except LookupError as error:
        raise Problem(404, "there is no such square") from error
    scale = zoom.downsample(level)
    box = (x * scale, y * scale, width * scale, height * scale)
    return encode_png(drawn.draw(box, (width, height)))


def _answer(data: bytes, kind: str) -> Response:
    return Response(data, media_type=kind, headers=CACHED)


def _kind(kind: str) -> dict[str, Any]:
    """How a route that answers bytes is described."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "response_class": Response,
        "responses": {200: {"content": content, "description": kind}, **responses(404, 422, 502)},
    }
