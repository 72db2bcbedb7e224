"""Records of slide predictions: polling one, listing all."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from fastapi import APIRouter, Path, Query

from pathray import storage
from serve.application import Application
from serve.problem import Problem, responses
from serve.results import Job, Lease, Results
from serve.schemas import PredictionRecord, Predictions, Progress, SlideDescription

Id = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="of a prediction")]


def router(application: Application) -> APIRouter:
    """`/v1/predictions`, `/v1/predictions/{id}`."""
    routes = APIRouter(prefix="/v1/predictions", tags=["predictions"])

    @routes.get("", responses=responses(404, 422))
    async def predictions(
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        after: Annotated[
            str | None, Query(pattern=r"^[0-9a-f]{32}$", description="`next` of the last page")
        ] = None,
    ) -> Predictions:
        """Finished predictions, newest first, a page at a time; first those under way."""
        return await asyncio.to_thread(_page, application.store(), limit, after)

    @routes.get("/{id}", responses=responses(404, 422))
    async def prediction(id: Id) -> PredictionRecord:
        """A prediction as it stands: its progress, and its result when it is done."""
        found = await asyncio.to_thread(record_of, application.store(), id)
        if found is None:
            raise Problem(404, "there is no such prediction")
        return found

    return routes


def record_of(store: Results, id: str) -> PredictionRecord | None:
    """A prediction's record: finished, or made up of its job and lease; None for neither."""
    record = store.record(id)
    if record is not None:
        return PredictionRecord.model_validate(record)
    job = store.job(id)
    if job is None:
        # It may have been finished between the two looks.
        record = store.record(id)
        return PredictionRecord.model_validate(record) if record else None
    return _under_way(job, store.lease(id))


def _under_way(job: Job, lease: Lease | None) -> PredictionRecord:
    progress = Progress(stage="waiting")
    if lease:
        progress = Progress.model_validate(
            {"stage": lease.stage, "tiles_done": lease.tiles_done, "tiles": lease.tiles}
        )
    return PredictionRecord(
        id=job.id,
        status="running" if lease else "waiting",
        model=job.model,
        slide=SlideDescription(uri=job.slide, slide_id=job.slide_id),
        created=job.created,
        progress=progress,
    )


def _page(store: Results, limit: int, after: str | None) -> Predictions:
    ids = store.finished()
    if after is not None:
        ids = ids[ids.index(after) + 1 :] if after in ids else []
    queued = store.waiting() if after is None else []
    with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as threads:
        done = list(threads.map(lambda id: record_of(store, id), ids[:limit]))
        under_way = list(threads.map(lambda id: record_of(store, id), queued))
    return Predictions(
        items=[record for record in done if record],
        under_way=[r for r in under_way if r and r.status in ("waiting", "running")],
        next=ids[limit - 1] if len(ids) > limit else None,
    )
