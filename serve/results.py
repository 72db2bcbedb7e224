"""Slide predictions in object storage: what was asked, who works on it, what came out.

Below the results prefix:

    queue/<id>.json             asked and not finished; removed last
    leases/<id>.json            which worker has it, how far it is; renewed while it works
    work/<id>/<piece>.npz       embeddings so far; removed when finished
    finished/<id>.json          the record: with it the prediction is done, or failed
    files/<id>/...              pictures and attention of a finished prediction

Every object is put whole. The id is made of what decides the prediction, so the same request
is the same prediction, and asking again is harmless.
"""

import hashlib
import io
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathray import storage

QUEUE, LEASES, WORK, FINISHED, FILES = "queue", "leases", "work", "finished", "files"
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Job:
    """One slide to predict; `size` and `version` are the slide's, `model_uri` names a version."""

    id: str
    slide: str
    slide_id: str
    size: int
    version: str
    model: str
    model_uri: str
    encoder_digest: str
    created: str

    @classmethod
    def of(
        cls, slide: str, source: storage.Source, model: str, model_uri: str, encoder_digest: str
    ) -> "Job":
        """The job of this slide in this version, by this model version and encoder."""
        decides = [slide, source.size, source.version, model, model_uri, encoder_digest]
        digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
        return cls(
            id=digest[:32],
            slide=slide,
            slide_id=storage.stem(slide),
            size=source.size,
            version=source.version,
            model=model,
            model_uri=model_uri,
            encoder_digest=encoder_digest,
            created=now(),
        )


@dataclass(frozen=True)
class Lease:
    """Who works on a job. `beat` grows while the worker lives; `attempt` counts workers."""

    worker: str
    attempt: int
    beat: int = 0
    stage: str = "planning"
    tiles_done: int = 0
    tiles: int | None = None


@dataclass(frozen=True)
class Piece:
    """Embeddings (n, D) of the tiles of a piece that could be decoded: its rows (n,)."""

    rows: NDArray[np.int64]
    vectors: NDArray[np.float16]


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def is_id(text: str) -> bool:
    """Whether a text has the form of a prediction's id."""
    return bool(_ID.fullmatch(text))


class Results:
    """The store below one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = storage.absolute(prefix)

    def enqueue(self, job: Job) -> None:
        """Ask for a job; one that is asked for already stays as it is."""
        if self.job(job.id) is None:
            self._put(QUEUE, job.id, asdict(job))

    def job(self, id: str) -> Job | None:
        """A job that is asked for and not finished."""
        found = self._get(QUEUE, id)
        return Job(**found) if found else None

    def waiting(self) -> list[str]:
        """Ids of the jobs that are asked for and not finished, oldest first."""
        return self._ids(QUEUE)

    def lease(self, id: str) -> Lease | None:
        """Who works on a job, if anybody ever did."""
        found = self._get(LEASES, id)
        return Lease(**found) if found else None

    def put_lease(self, id: str, lease: Lease) -> None:
        """Take a job, or renew."""
        self._put(LEASES, id, asdict(lease))

    def drop_lease(self, id: str) -> None:
        """Leave a job to others at once."""
        storage.delete([self._uri(LEASES, f"{id}.json")])

    def put_piece(self, id: str, index: int, piece: Piece) -> None:
        """Keep the embeddings of a piece, so that another worker need not make them."""
        sink = io.BytesIO()
        np.savez(sink, rows=piece.rows, vectors=piece.vectors)
        storage.put_bytes(self._uri(WORK, id, f"{index:05d}.npz"), sink.getvalue())

    def piece(self, id: str, index: int) -> Piece | None:
        """The embeddings of a piece that some worker has made."""
        data = self._read(WORK, id, f"{index:05d}.npz")
        if data is None:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            return Piece(held["rows"], held["vectors"])

    def put_file(self, id: str, name: str, data: bytes) -> None:
        """Keep a picture or table of a prediction."""
        storage.put_bytes(self._uri(FILES, id, name), data)

    def file(self, id: str, name: str) -> bytes | None:
        """A picture or table; None where there is none."""
        return self._read(FILES, id, name)

    def finish(self, id: str, record: dict[str, Any]) -> None:
        """Publish the record, then clear what led to it; both may be done twice."""
        self._put(FINISHED, id, record)
        work = storage.list_objects(self._uri(WORK, id))
        storage.delete([entry.uri for entry in work])
        storage.delete([self._uri(QUEUE, f"{id}.json"), self._uri(LEASES, f"{id}.json")])

    def record(self, id: str) -> dict[str, Any] | None:
        """The record of a finished prediction."""
        return self._get(FINISHED, id)

    def forget(self, id: str) -> None:
        """Remove the record of a failed prediction, so that it is tried again."""
        storage.delete([self._uri(FINISHED, f"{id}.json")])

    def finished(self) -> list[str]:
        """Ids of finished predictions, newest first."""
        return self._ids(FINISHED)[::-1]

    def _ids(self, folder: str) -> list[str]:
        entries = storage.list_objects(self._uri(folder), recursive=False)
        entries.sort(key=lambda entry: (entry.source.modified or "", entry.name))
        return [storage.stem(entry.uri) for entry in entries]

    def _uri(self, *parts: str) -> str:
        return storage.join(self._prefix, *parts)

    def _put(self, folder: str, id: str, content: dict[str, Any]) -> None:
        data = json.dumps(content, allow_nan=False).encode()
        storage.put_bytes(self._uri(folder, f"{id}.json"), data)

    def _get(self, folder: str, id: str) -> dict[str, Any] | None:
        data = self._read(folder, f"{id}.json")
        content: dict[str, Any] | None = json.loads(data) if data is not None else None
        return content

    def _read(self, *parts: str) -> bytes | None:
        try:
            return storage.read_bytes(self._uri(*parts))
        except FileNotFoundError:
            return None
