"""An output folder: settings that were used, finished objects, outcomes, the index.

<out>/_settings.json            identity settings, written first
<out>/<slide_id>….parquet       what the job makes
<out>/_staging/<slide_id>/…     pieces of unfinished slides (embeddings only)
<out>/_status/<slide_id>.json   outcome and reason
<out>/_index.parquet            one row a slide, rebuilt at the end of a run
"""

import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pathray import storage
from pathray.errors import PathrayError, RequestError, SlideError
from pathray.metadata import first_difference

SETTINGS, INDEX, STATUS, STAGING = "_settings.json", "_index.parquet", "_status", "_staging"
Outcome = Literal["done", "empty", "failed"]

INDEX_SCHEMA = pa.schema(
    [
        pa.field("slide_id", pa.string()),
        pa.field("patient_id", pa.string()),
        pa.field("uri", pa.string()),
        pa.field("status", pa.string()),
        pa.field("n_tiles", pa.int64()),
        pa.field("tiles_lost", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("bytes_read", pa.int64()),
        pa.field("reader", pa.string()),
        pa.field("error", pa.string()),
    ]
)


@dataclass(frozen=True)
class Status:
    """What became of one slide; a row of the index.

    `seconds` is the busy time of all tasks that worked on it, `identity` the settings and
    the source it was made from, `time` when the outcome was written (ISO 8601, UTC).
    """

    slide_id: str
    patient_id: str | None
    uri: str
    status: Outcome
    n_tiles: int = 0
    tiles_lost: int = 0
    seconds: float = 0.0
    bytes_read: int = 0
    reader: str | None = None
    error: str | None = None
    identity: Mapping[str, Any] | None = None
    time: str | None = None


def put_settings(out: str, settings: Mapping[str, Any]) -> None:
    """Claim an output folder for these settings.

    A folder with the same settings is resumed. RequestError when the settings differ (the
    setting is named), when the folder holds something else, or cannot be written.
    """
    uri = storage.join(out, SETTINGS)
    try:
        if storage.exists(uri):
            _compare(out, json.loads(storage.read_bytes(uri)), settings)
            return
        _refuse_others(out)
        storage.put_bytes(uri, (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode())
    except PathrayError:
        raise
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--out: {storage.reason(out, error)}") from error


def read_settings(out: str) -> dict[str, Any] | None:
    """The settings that an output folder was claimed for; None for one that is not claimed."""
    try:
        return dict(json.loads(storage.read_bytes(storage.join(out, SETTINGS))))
    except FileNotFoundError:
        return None
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--out: {storage.reason(out, error)}") from error


def _compare(out: str, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    difference = first_difference(json.loads(json.dumps(mine)), theirs)
    if difference:
        raise RequestError(
            f"--out: {out} was made with other settings: {difference}; "
            "use those settings or another --out"
        )


def refuse_foreign(out: str) -> None:
    """RequestError when the folder is not one of ours, before any work is begun."""
    try:
        if not storage.exists(storage.join(out, SETTINGS)):
            if storage.lacks_bucket(out):
                raise FileNotFoundError(out)
            _refuse_others(out)
    except PathrayError:
        raise
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--out: {storage.reason(out, error)}") from error


def _refuse_others(out: str) -> None:
    if storage.exists(out):
        raise RequestError(f"--out: {out} is a file; give a folder or prefix")
    others = storage.list_objects(out, recursive=False)
    if others:
        raise RequestError(
            f"--out: {out} holds files that Pathray did not write ({others[0].name}, …); "
            "give an empty or new folder"
        )


def put_object(uri: str, data: bytes) -> None:
    """Write an object of a slide whole or not at all; SlideError when its store refuses."""
    try:
        storage.put_bytes(uri, data)
    except Exception as error:  # each store has its own exceptions for refusals
        raise SlideError(f"--out: {storage.reason(uri, error)}") from error


def put_status(out: str, status: Status) -> None:
    """Record the outcome of a slide."""
    text = json.dumps(asdict(status), indent=2, sort_keys=True) + "\n"
    storage.put_bytes(storage.join(out, STATUS, f"{status.slide_id}.json"), text.encode())


def read_statuses(out: str) -> dict[str, Status]:
    """All recorded outcomes by slide_id."""
    entries = storage.list_objects(storage.join(out, STATUS))
    uris = [entry.uri for entry in entries if entry.name.endswith(".json")]
    with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as pool:
        texts = list(pool.map(storage.read_bytes, uris))
    statuses = [_status(uri, text) for uri, text in zip(uris, texts, strict=True)]
    return {status.slide_id: status for status in statuses}


def _status(uri: str, text: bytes) -> Status:
    try:
        return Status(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise RequestError(f"--out: {uri} is no outcome of a slide: remove it") from error


def staged_piece(out: str, slide_id: str, piece: int) -> str:
    """Where an embedding piece waits for its slide to be complete."""
    return storage.join(out, STAGING, slide_id, f"{piece:05d}.parquet")


def staged_pieces(out: str) -> dict[str, list[int]]:
    """The pieces that wait, by slide_id."""
    waiting: dict[str, list[int]] = {}
    for entry in storage.list_objects(storage.join(out, STAGING)):
        name = entry.name.removesuffix(".parquet")
        if name.isdecimal():
            slide_id = storage.parent(entry.uri).rsplit("/", 1)[-1]
            waiting.setdefault(slide_id, []).append(int(name))
    return waiting


def put_index(out: str, statuses: Sequence[Status]) -> str:
    """Write the index, one row a slide sorted by slide_id; returns its URI."""
    ordered = sorted(statuses, key=lambda status: status.slide_id)
    rows = [{name: getattr(s, name) for name in INDEX_SCHEMA.names} for s in ordered]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), sink)
    uri = storage.join(out, INDEX)
    storage.put_bytes(uri, sink.getvalue())
    return uri


def too_many_lost(status: Status, limit: float) -> str | None:
    """Why a slide that lost tiles must fail; None when it need not."""
    planned = status.n_tiles + status.tiles_lost
    if status.tiles_lost <= limit * planned:
        return None
    return (
        f"{status.tiles_lost} of {planned} tiles could not be decoded, "
        f"more than --max-tiles-lost {limit:g}"
    )
