"""Tile shards: Parquet files of compressed tile images, one piece of one slide each."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pathray import storage
from pathray.errors import TileError, one_line
from pathray.metadata import Metadata, metadata_of, with_metadata
from pathray.slides.reader import Pixels

ROW_GROUP_BYTES = 8 * 1024 * 1024
JPEG_QUALITY = 90
JPEG, PNG = f"jpeg-444-q{JPEG_QUALITY}", "png"
"""Image codecs by the name that the identity holds."""

OF_A_SHARD = ("piece", "pieces", "tiles_planned", "tiles_lost")
"""Provenance that speaks of a shard and not of its slide."""

SCHEMA = pa.schema(
    [
        pa.field("slide_id", pa.string()),
        pa.field("patient_id", pa.string()),
        pa.field("x", pa.int32()),
        pa.field("y", pa.int32()),
        pa.field("tissue", pa.float32()),
        pa.field("image", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Shard:
    """Tiles of one piece. x, y (N,) int32 level-0 pixels; tissue (N,) float32 in 0..1."""

    slide_id: str
    patient_id: str | None
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    tissue: NDArray[np.float32]
    images: Sequence[bytes]
    metadata: Metadata


def shard_name(slide_id: str, piece: int) -> str:
    """The file name of a piece's shard."""
    return f"{slide_id}-{piece:05d}.parquet"


def parse_shard_name(name: str) -> tuple[str, int] | None:
    """(slide_id, piece) of a shard's file name; None for any other file."""
    slide_id, dash, piece = name.removesuffix(".parquet").rpartition("-")
    if not dash or not name.endswith(".parquet") or len(piece) < 5 or not piece.isdecimal():
        return None
    return slide_id, int(piece)


def encode_image(tile: Pixels, codec: str) -> bytes:
    """A tile (H, W, 3) uint8 RGB as JPEG 4:4:4 quality 90, or as PNG."""
    import imagecodecs

    if codec == PNG:
        return cast(bytes, imagecodecs.png_encode(np.ascontiguousarray(tile), level=1))
    return cast(
        bytes,
        imagecodecs.jpeg8_encode(np.ascontiguousarray(tile), level=JPEG_QUALITY, subsampling="444"),
    )


def decode_image(data: bytes) -> Pixels:
    """The RGB pixels (H, W, 3) of a stored image; TileError when it cannot be decoded."""
    import imagecodecs

    decode = imagecodecs.png_decode if data[:4] == b"\x89PNG" else imagecodecs.jpeg8_decode
    try:
        return cast(Pixels, decode(data))
    except Exception as error:  # the codecs raise their own unrelated exceptions
        raise TileError(one_line(error)) from error


def serialise(shard: Shard) -> bytes:
    """The shard as a Parquet file with row groups of at most 8 MB of images.

    Images are compressed already and stored as they are.
    """
    schema = with_metadata(SCHEMA, shard.metadata)
    n = len(shard.images)
    columns = [
        pa.array([shard.slide_id] * n, pa.string()),
        pa.array([shard.patient_id] * n, pa.string()),
        pa.array(shard.x, pa.int32()),
        pa.array(shard.y, pa.int32()),
        pa.array(shard.tissue, pa.float32()),
        pa.array(shard.images, pa.binary()),
    ]
    table = pa.Table.from_arrays(columns, schema=schema)
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, schema, compression="none", use_dictionary=["slide_id", "patient_id"]
    ) as writer:
        for start, stop in _row_groups([len(image) for image in shard.images]):
            writer.write_table(table.slice(start, stop - start), row_group_size=stop - start)
    return sink.getvalue()


def _row_groups(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = total = 0
    for index, size in enumerate(sizes):
        if total and total + size > ROW_GROUP_BYTES:
            yield start, index
            start, total = index, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)


def read_shard(uri: str) -> Shard:
    """A whole shard; ValueError when the file is not one."""
    table = pq.read_table(io.BytesIO(storage.read_bytes(uri)))
    if table.schema.names != SCHEMA.names:
        raise ValueError(f"not a tile shard: its columns are {', '.join(table.schema.names)}")
    patient = table["patient_id"][0].as_py() if table.num_rows else None
    return Shard(
        slide_id=table["slide_id"][0].as_py() if table.num_rows else "",
        patient_id=patient,
        x=table["x"].to_numpy(),
        y=table["y"].to_numpy(),
        tissue=table["tissue"].to_numpy(),
        images=table["image"].to_pylist(),
        metadata=metadata_of(table.schema),
    )
