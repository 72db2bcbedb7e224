"""Predictions: at once from embeddings, as a job from a slide."""

import asyncio
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import ValidationError

from pathray import storage
from pathray.embeddings import read_embeddings
from serve.api.predictions import record_of
from serve.application import Application
from serve.predicting import ModelCard, ModelUnavailableError, told
from serve.problem import Problem, busy, responses
from serve.results import Job
from serve.schemas import Prediction, PredictionRecord, PredictRequest, UsedEncoder
from serve.tiles import NPY, array_in, media_type

JSON = "application/json"
JSON_MB = 8
"""MB of a JSON body: its numbers take ten times as much memory as those of an array."""
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"$ref": "#/components/schemas/PredictRequest"}},
            NPY: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def router(application: Application) -> APIRouter:
    """`POST /v1/predict`."""
    routes = APIRouter(prefix="/v1", tags=["predictions"])

    @routes.post(
        "/predict",
        response_model=Prediction,
        openapi_extra=BODY,
        responses={
            202: {"model": PredictionRecord, "description": "a slide: poll `Location`"},
            **responses(400, 403, 404, 408, 413, 415, 422, 504),
        },
    )
    async def predict(
        request: Request,
        model: Annotated[str | None, Query(description=f"with {NPY}", max_length=64)] = None,
        encoder_digest: Annotated[
            str | None, Query(description=f"with {NPY}", max_length=64)
        ] = None,
    ) -> Response:
        """Class probabilities, or a risk with a survival curve, of one slide.

        From `embeddings` (in JSON, or a .npy body float (N, dim) with the query `model` and
        `encoder_digest`) and from `embeddings_uri` at once: 200. From `slide` as a job: 202
        with its record; the same slide, model version and encoder are the same job.
        """
        asked, vectors = await _asked(request, model, encoder_digest)
        card = await application.model(asked.model)
        if asked.slide is not None:
            return await _start(application, card, asked.model, asked.slide)
        if asked.embeddings_uri is not None:
            answer = await _from_object(application, card, asked.model, asked.embeddings_uri)
        else:
            assert vectors is not None
            answer = await _from_vectors(application, card, asked, vectors)
        return JSONResponse(answer.model_dump(mode="json"))

    return routes


async def _asked(
    request: Request, model: str | None, digest: str | None
) -> tuple[PredictRequest, NDArray[np.floating] | None]:
    """What the body and query ask, and given embeddings as an array."""
    kind, _ = media_type(request.headers.get("content-type"))
    body = await request.body()
    if kind == NPY:
        if model is None or digest is None:
            raise Problem(422, f"a body of {NPY} needs the query `model` and `encoder_digest`")
        vectors = array_in(body)
        if vectors.dtype not in (np.float16, np.float32, np.float64):
            raise Problem(422, f"embeddings are floating point, not {vectors.dtype}")
        return PredictRequest(model=model, encoder_digest=digest), vectors
    if kind != JSON:
        raise Problem(415, f"Content-Type: send {JSON} or {NPY}")
    if len(body) > JSON_MB * 1e6:
        raise Problem(413, f"a JSON body may have {JSON_MB} MB: send {NPY}")
    try:
        asked = await asyncio.to_thread(PredictRequest.model_validate_json, body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise Problem(422, f"{place}: {first['msg']}") from error
    given = [asked.slide, asked.embeddings_uri, asked.embeddings]
    if sum(each is not None for each in given) != 1:
        raise Problem(422, "give one of `slide`, `embeddings_uri` and `embeddings`")
    if asked.embeddings is None:
        return asked, None
    if asked.encoder_digest is None:
        raise Problem(422, "`embeddings` need `encoder_digest`: which encoder made them")
    if len({len(row) for row in asked.embeddings}) != 1:
        raise Problem(422, "`embeddings` are N rows of equal length, N > 0")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as not finite
        return asked, np.array(asked.embeddings, np.float64).astype(np.float32)


async def _from_vectors(
    application: Application,
    card: ModelCard,
    asked: PredictRequest,
    vectors: NDArray[np.floating],
) -> Prediction:
    if asked.encoder_digest != card.encoder_digest:
        raise Problem(
            422, f"encoder_digest: the model {asked.model} was trained on another encoder"
        )
    answer = await _answer(application, card, vectors)
    encoder = UsedEncoder(name=card.encoder_name, digest=card.encoder_digest)
    return told(asked.model, card, answer, encoder)


async def _from_object(
    application: Application, card: ModelCard, name: str, uri: str
) -> Prediction:
    where = await asyncio.to_thread(application.embeddings.check, uri)
    embeddings = await asyncio.to_thread(_read, where, application.settings.limits.bag_tiles)
    identity, provenance = embeddings.metadata.identity, embeddings.metadata.provenance
    for what, mine in (
        ("encoder_digest", card.encoder_digest),
        ("tile_size", card.tile_size),
        ("mpp", card.mpp),
    ):
        if identity.get(what) != mine:
            raise Problem(422, f"the model {name} was trained on other embeddings: {what} differs")
    answer = await _answer(application, card, embeddings.vectors)
    side = provenance.get("side0")
    x, y = embeddings.x, embeddings.y
    encoder = UsedEncoder(
        name=provenance.get("encoder"),
        digest=card.encoder_digest,
        precision=identity.get("precision"),
    )

    def place(_: int, row: int) -> dict[str, Any]:
        return {"x": int(x[row]), "y": int(y[row]), "side": side}

    return told(name, card, answer, encoder, place)


async def _answer(application: Application, card: ModelCard, vectors: Any) -> Any:
    if vectors.ndim != 2 or vectors.shape[1] != card.dim or not len(vectors):
        raise Problem(422, f"embeddings are (N, {card.dim}), N > 0, not {vectors.shape}")
    if len(vectors) > application.settings.limits.bag_tiles:
        raise Problem(413, f"at most {application.settings.limits.bag_tiles} embeddings")
    if not np.isfinite(vectors).all():
        raise Problem(422, "an embedding is not finite")
    try:
        return await application.predictor.predict(card.uri, vectors)
    except ModelUnavailableError as error:
        raise busy(str(error), application.settings.limits.retry_after_s) from error


def _read(uri: str, most: int) -> Any:
    """Embeddings of an allowed object; its footer is looked at before its rows are read."""
    import pyarrow.parquet as pq

    try:
        with storage.open_for_reading(uri) as file:
            rows = pq.ParquetFile(file).metadata.num_rows
        if rows > most:
            raise Problem(413, f"the object has {rows} embeddings; {most} are allowed")
        return read_embeddings(uri)
    except Problem:
        raise
    except Exception as error:  # each store has its own exceptions
        raise Problem(422, "embeddings_uri: no object of `embed` can be read there") from error


async def _start(application: Application, card: ModelCard, name: str, uri: str) -> Response:
    """Ask for a slide's prediction, unless it is there or under way."""
    application.store()
    where = await asyncio.to_thread(application.slides.check, uri)
    encoder = await application.encoder_card()
    if card.encoder_digest != encoder.digest:
        raise Problem(422, f"the model {name} was trained on another encoder than runs here")
    if card.tile_size is None or card.mpp is None:
        raise Problem(422, f"the model {name} does not say which tiles it was trained on")
    try:
        source = await asyncio.to_thread(storage.stat, where)
    except Exception as error:  # each store has its own exceptions
        raise Problem(422, "slide: no object can be read there") from error
    job = Job.of(where, source, name, card.uri, encoder.digest)
    record = await asyncio.to_thread(_enqueue, application, job)
    if application.wake is not None:
        application.wake()
    headers = {"Location": f"/v1/predictions/{job.id}", "Retry-After": "1"}
    return JSONResponse(record.model_dump(mode="json"), 202, headers)


def _enqueue(application: Application, job: Job) -> PredictionRecord:
    store, limits = application.store(), application.settings.limits
    found = record_of(store, job.id)
    if found is None or found.status == "failed":
        if len(store.waiting()) >= limits.jobs:
            raise busy("too many slides are waiting: try again", limits.retry_after_s)
        store.forget(job.id)
        store.enqueue(job)
        found = record_of(store, job.id)
    assert found is not None
    return found
