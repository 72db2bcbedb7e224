"""The row groups of a folder of tile shards: found once, then read one by one, by ranges."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pathray import storage
from pathray.errors import PathrayError, RequestError, SlideError, one_line
from pathray.metadata import metadata_of
from pathray.slides.ranges import RangeReader
from pathray.storage import Entry
from pathray.tilestore import SCHEMA, parse_shard_name

IMAGE = "image"
FOOTER_BYTES = 16 << 10
"""What is read from a shard's end at first: its footer is a quarter of it."""
PARALLEL_FOOTERS = 32
TRAILER = 8
"""A Parquet file ends in its footer's length and a magic number, four bytes each."""


Longs = NDArray[np.int64]


@dataclass(frozen=True)
class RowGroups:
    """Where the tiles of a folder of shards lie; G row groups in the order of their names.

    `uris` of the S shards, with their `sizes` and where their `footers` begin, in bytes.
    `shard` (G,) which of them, `number` (G,) the row group in it, `rows` (G,) its tiles,
    `start` and `stop` (G,) the bytes of its images. `tile_size` in pixels. `incomplete`
    slides have shards missing; those that are there are used.
    """

    uris: tuple[str, ...]
    sizes: Longs
    footers: Longs
    shard: Longs
    number: Longs
    rows: Longs
    start: Longs
    stop: Longs
    tile_size: int
    incomplete: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def tiles(self) -> int:
        """How many tiles there are."""
        return int(self.rows.sum())

    @cached_property
    def image_bytes(self) -> int:
        """How many bytes their images are."""
        return int((self.stop - self.start).sum())

    def slide_ids(self) -> list[str]:
        """The slide of each row group."""
        ids = [_slide_id(uri) for uri in self.uris]
        return [ids[shard] for shard in self.shard]

    def name(self, group: int, row: int) -> str:
        """How a message calls a tile."""
        return f"{self.uris[self.shard[group]]}, row group {self.number[group]}, row {row}"

    def read_images(self, group: int, rows: Sequence[int] | Longs | None = None) -> list[bytes]:
        """The stored images of these rows of a row group (all without `rows`).

        Two ranges are fetched, the shard's footer and the images; fetches are retried.
        SlideError when they cannot be had, or when the shard is not what it was.
        """
        shard = int(self.shard[group])
        uri, size, footer = self.uris[shard], int(self.sizes[shard]), int(self.footers[shard])
        start, stop = int(self.start[group]), int(self.stop[group])
        with closing(RangeReader(uri)) as reader:
            if reader.size != size:
                raise SlideError(f"{uri} changed while it was in use: it was {size} bytes long")
            tail, chunk = reader.stream([(footer, size), (start, stop)])
        try:
            metadata = pq.read_metadata(io.BytesIO(tail))
            if _image_bytes(metadata.row_group(int(self.number[group]))) != (start, stop):
                raise SlideError(f"{uri} changed while it was in use")
            file = pq.ParquetFile(_Part(chunk, start, size), metadata=metadata)
            table = file.read_row_group(int(self.number[group]), [IMAGE], use_threads=False)
        except (pa.ArrowException, OSError, IndexError) as error:
            raise SlideError(f"{uri} is damaged ({one_line(error, 120)}): tile it again") from error
        images = table[IMAGE] if rows is None else table[IMAGE].take(pa.array(rows))
        return images.to_pylist()

    def to_bytes(self) -> bytes:
        """As a small Parquet file, for a run to keep: it sees no shard that is added later."""
        arrays = {name: getattr(self, name) for name in ("number", "rows", "start", "stop")}
        of_shard = {name: getattr(self, name)[self.shard] for name in ("sizes", "footers")}
        uris = pa.DictionaryArray.from_arrays(self.shard.astype(np.int32), pa.array(self.uris))
        about = {"tile_size": self.tile_size, "incomplete": self.incomplete}
        table = pa.table({"uri": uris} | arrays | of_shard)
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({b"pathray": json.dumps(about)}), sink)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "RowGroups":
        """The inverse of `to_bytes`."""
        table = pq.read_table(io.BytesIO(data))
        uris = table["uri"].combine_chunks().cast(pa.string()).to_pylist()
        _, first, shard = np.unique(uris, return_index=True, return_inverse=True)
        columns = {name: table[name].to_numpy() for name in table.schema.names if name != "uri"}
        about = json.loads(table.schema.metadata[b"pathray"])
        return cls(
            tuple(uris[index] for index in first),
            columns["sizes"][first],
            columns["footers"][first],
            shard.astype(np.int64),
            columns["number"],
            columns["rows"],
            columns["start"],
            columns["stop"],
            tile_size=about["tile_size"],
            incomplete=tuple(about["incomplete"]),
        )


def find_row_groups(tiles: str) -> RowGroups:
    """The row groups below the folder that `pathray tile --out` wrote.

    One listing and one small range a shard, many at a time. RequestError when there are no
    tiles or tiles of several sizes; SlideError when a shard is damaged.
    """
    uri = storage.absolute(tiles)
    try:
        entries = storage.list_objects(uri, recursive=False)
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--tiles: {storage.reason(uri, error)}") from error
    entries = sorted((e for e in entries if parse_shard_name(e.name)), key=lambda e: e.name)
    with ThreadPoolExecutor(PARALLEL_FOOTERS) as pool:
        found = list(pool.map(_read_footer, entries))
    kept = [(entry, shard) for entry, shard in zip(entries, found, strict=True) if shard.groups]
    if not kept:
        raise RequestError(f"--tiles: {uri} holds no tiles: make them with `pathray tile --out`")
    groups = np.array([group for _, shard in kept for group in shard.groups], np.int64)
    number, rows, start, stop = groups.T.copy()
    return RowGroups(
        tuple(entry.uri for entry, _ in kept),
        np.array([entry.source.size for entry, _ in kept], np.int64),
        np.array([shard.footer for _, shard in kept], np.int64),
        np.repeat(np.arange(len(kept)), [len(shard.groups) for _, shard in kept]),
        number,
        rows,
        start,
        stop,
        tile_size=_tile_size(kept),
        incomplete=_incomplete(entries, found),
    )


@dataclass(frozen=True)
class _Footer:
    """Where a shard's footer begins and what it says; (number, rows, start, stop) a row group."""

    footer: int
    groups: list[tuple[int, int, int, int]]
    tile_size: int
    pieces: int


def _read_footer(entry: Entry) -> _Footer:
    size = entry.source.size
    try:
        with closing(RangeReader(entry.uri)) as reader:
            tail = reader.read(max(0, size - FOOTER_BYTES), size)
            length = int.from_bytes(tail[-TRAILER:-4], "little") + TRAILER
            if len(tail) < length <= size:
                tail = reader.read(size - length, size)
        metadata = pq.read_metadata(io.BytesIO(tail))
        schema = metadata.schema.to_arrow_schema()
        about = metadata_of(schema)
        if schema.names != SCHEMA.names:
            raise ValueError("its columns are not those of a tile shard")
        parts = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        groups = [(i, p.num_rows, *_image_bytes(p)) for i, p in enumerate(parts) if p.num_rows]
        return _Footer(
            size - length, groups, about.identity["tile_size"], about.provenance["pieces"]
        )
    except PathrayError:
        raise
    except (ValueError, KeyError, OSError) as error:  # pyarrow's own are among these
        raise SlideError(f"{entry.uri} is damaged ({one_line(error, 120)}): remove it") from error


def _image_bytes(part: Any) -> tuple[int, int]:
    column = part.column(SCHEMA.names.index(IMAGE))
    start = column.dictionary_page_offset or column.data_page_offset
    return start, start + column.total_compressed_size


def _tile_size(kept: Sequence[tuple[Entry, _Footer]]) -> int:
    first, side = kept[0][0].uri, kept[0][1].tile_size
    for entry, shard in kept:
        if shard.tile_size != side:
            raise RequestError(
                f"--tiles: tiles of several sizes: {first} has {side} pixels, {entry.uri} "
                f"{shard.tile_size}; give a folder whose tiles are all of one size"
            )
    return side


def _incomplete(entries: Sequence[Entry], found: Sequence[_Footer]) -> tuple[str, ...]:
    present = Counter(_slide_id(entry.uri) for entry in entries)
    pieces = {_slide_id(e.uri): shard.pieces for e, shard in zip(entries, found, strict=True)}
    return tuple(sorted(slide for slide, count in pieces.items() if present[slide] != count))


def _slide_id(uri: str) -> str:
    parsed = parse_shard_name(uri.rsplit("/", 1)[-1])
    assert parsed is not None, uri
    return parsed[0]


class _Part(io.RawIOBase):
    """A file of `size` bytes of which only `data`, at `start`, is there to be read."""

    def __init__(self, data: bytes, start: int, size: int) -> None:
        self._data, self._start, self._size, self._at = memoryview(data), start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        first = self._at - self._start
        data = self._data[first : first + len(buffer)] if first >= 0 else self._data[:0]
        if len(data) < len(buffer):
            raise OSError("the shard's footer points outside its row group")
        buffer[:] = data
        self._at += len(data)
        return len(data)
