"""Embeddings: one Parquet object a slide, rows sorted by (y, x), vectors in float16."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pathray import storage
from pathray.errors import SlideError
from pathray.metadata import Metadata, metadata_of, with_metadata


@dataclass(frozen=True)
class Embeddings:
    """Tiles of a slide, or of a piece of it, in (y, x) order.

    x, y (N,) int32 level-0 pixels; tissue (N,) float32 in 0..1; vectors (N, D) float16.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    tissue: NDArray[np.float32]
    vectors: NDArray[np.float16]
    metadata: Metadata


def object_name(slide_id: str) -> str:
    """The file name of a slide's embeddings."""
    return f"{slide_id}.parquet"


def to_float16(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """Vectors (N, D) as stored; SlideError when one is not finite or outgrows float16."""
    with np.errstate(over="ignore"):
        stored = vectors.astype(np.float16)
    if not np.isfinite(stored).all():
        rows = int((~np.isfinite(stored).all(axis=1)).sum())
        what = "is not finite" if not np.isfinite(vectors).all() else "exceeds float16's 65504"
        raise SlideError(f"the encoder's embedding of {rows} tile(s) {what}")
    return stored


def schema(dim: int, metadata: Metadata) -> pa.Schema:
    """The Parquet schema of embeddings of width `dim`."""
    fields = [
        pa.field("x", pa.int32()),
        pa.field("y", pa.int32()),
        pa.field("tissue", pa.float32()),
        pa.field("embedding", pa.list_(pa.float16(), dim)),
    ]
    return with_metadata(pa.schema(fields), metadata)


def write_embeddings(path: Path, pieces: Iterable[Embeddings], dim: int, meta: Metadata) -> int:
    """Join pieces into one local Parquet file, a row group each; returns the rows written.

    `pieces` is consumed one at a time, so that memory holds one piece.
    """
    rows = 0
    joined = schema(dim, meta)
    with pq.ParquetWriter(path, joined, compression="zstd", use_dictionary=False) as writer:
        for piece in pieces:
            flat = pa.array(np.ascontiguousarray(piece.vectors).reshape(-1))
            columns = [
                pa.array(piece.x, pa.int32()),
                pa.array(piece.y, pa.int32()),
                pa.array(piece.tissue, pa.float32()),
                pa.FixedSizeListArray.from_arrays(flat, dim),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=joined))
            rows += len(piece.x)
    return rows


def read_embeddings(uri: str) -> Embeddings:
    """The embeddings behind a URI; ValueError when the object is not one of ours."""
    with storage.open_for_reading(uri) as file:
        table = pq.read_table(file)
    meta = metadata_of(table.schema)
    dim = table.schema.field("embedding").type.list_size
    column = table["embedding"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    return Embeddings(
        x=table["x"].to_numpy(),
        y=table["y"].to_numpy(),
        tissue=table["tissue"].to_numpy(),
        vectors=column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim),
        metadata=meta,
    )
