"""A small, strict reader of TIFF directories (classic and BigTIFF), safe on hostile files.

It replaces tifffile for opening slides: a piece of a slide opens the file anew, so opening
must cost a few small reads, and nothing that a file claims about itself may make us loop or
allocate. Only the tags named here are read, each with a bound; the tile tables are located,
not loaded. Source: TIFF 6.0 and the BigTIFF proposal (libtiff).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from pathray.errors import SlideError
from pathray.slides.ranges import RangeReader

MAX_DIRECTORIES = 256
MAX_TAGS = 1024
MAX_VALUES = 1024
MAX_TEXT = 32 << 20
"""Philips slides carry their label and macro images inside the description."""
BLOCK = 16 << 10
"""Bytes read at once around a directory."""

TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 7: "s", 11: "f", 12: "d", 13: "I"}
TYPES |= {16: "Q", 17: "q", 18: "Q"}
NAMES = {
    254: "subfile_type",
    256: "width",
    257: "height",
    258: "bits",
    259: "compression",
    262: "photometric",
    266: "fill_order",
    270: "description",
    274: "orientation",
    277: "samples",
    282: "x_resolution",
    284: "planar",
    296: "resolution_unit",
    305: "software",
    317: "predictor",
    322: "tile_width",
    323: "tile_height",
    324: "tile_offsets",
    325: "tile_byte_counts",
    330: "sub_directories",
    339: "sample_format",
    347: "jpeg_tables",
    700: "xmp",
    32997: "image_depth",
    65420: "ndpi",
}
TEXTS = {"description": MAX_TEXT, "xmp": MAX_TEXT, "software": 4096, "jpeg_tables": 1 << 16}
TABLES = ("tile_offsets", "tile_byte_counts")

Value = tuple[int | float, ...]


class Unsupported(SlideError):  # noqa: N818 - it is a verdict, not a failure
    """The range reader does not understand this file; another reader may."""


@dataclass(frozen=True)
class Table:
    """Where an array of unsigned integers lies in the file; `dtype` in numpy's notation."""

    offset: int
    dtype: str
    count: int


@dataclass
class Directory:
    """The tags of one TIFF directory that matter here, by the names in `NAMES`."""

    values: dict[str, Value] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def integer(self, name: str, default: int) -> int:
        """The first value of an integer tag, or `default` where the file leaves it out."""
        value = self.values.get(name, (default,))[0]
        return int(value)

    def text(self, name: str) -> str:
        """A text tag up to its first NUL, or the empty string."""
        return self.texts.get(name, b"").split(b"\0", 1)[0].decode("utf-8", "replace")

    @property
    def tiled(self) -> bool:
        """Whether the image is stored in tiles (and not in strips)."""
        return "tile_width" in self.values and "tile_height" in self.values


class TiffFile:
    """The directories of a TIFF file. Raises Unsupported for whatever is out of bounds."""

    def __init__(self, source: RangeReader) -> None:
        self._source = source
        self._blocks: list[tuple[int, bytes]] = []
        header = self._read(0, min(16, source.size))
        order = {b"II": "<", b"MM": ">"}.get(header[:2])
        if order is None or len(header) < 16:
            raise Unsupported(f"{source.uri}: not a TIFF file")
        self._order = order
        version = self._unpack("H", header[2:4])[0]
        self._big = version == 43
        if version not in (42, 43) or (self._big and header[4:8] != self._pack("HH", 8, 0)):
            raise Unsupported(f"{source.uri}: not a TIFF file")
        self._word = "Q" if self._big else "I"
        self._first = int(self._unpack(self._word, header[8:16] if self._big else header[4:8])[0])

    def directories(self) -> Iterator[Directory]:
        """The main chain of directories, in file order."""
        offset, seen = self._first, set[int]()
        while offset:
            if offset in seen or len(seen) == MAX_DIRECTORIES:
                raise Unsupported(f"{self._source.uri}: endless chain of TIFF directories")
            directory, offset_of_next = self._directory(offset, texts=not seen)
            seen.add(offset)
            yield directory
            offset = offset_of_next

    def sub_directories(self, parent: Directory) -> Iterator[Directory]:
        """The directories that `parent` points to (SubIFDs), in its order."""
        offsets = parent.values.get("sub_directories", ())
        if len(offsets) > MAX_DIRECTORIES:
            raise Unsupported(f"{self._source.uri}: {len(offsets)} sub-directories")
        for offset in offsets:
            yield self._directory(int(offset), texts=False)[0]

    def _directory(self, offset: int, texts: bool) -> tuple[Directory, int]:
        """The directory at `offset` and where the next one is; long texts only when asked."""
        word, entry = (8, 20) if self._big else (4, 12)
        head = 8 if self._big else 2
        count = int(self._unpack("Q" if self._big else "H", self._read(offset, head))[0])
        if not 0 < count <= MAX_TAGS:
            raise Unsupported(f"{self._source.uri}: a TIFF directory with {count} tags")
        body = self._read(offset + head, count * entry + word)
        directory = Directory()
        for index in range(count):
            at = offset + head + index * entry
            self._tag(directory, at, body[index * entry : (index + 1) * entry], texts)
        return directory, int(self._unpack(self._word, body[-word:])[0])

    def _tag(self, directory: Directory, at: int, entry: bytes, texts: bool) -> None:
        tag, kind = self._unpack("HH", entry[:4])
        name, code = NAMES.get(tag), TYPES.get(kind)
        if name is None or code is None:
            return
        word = len(entry) // 2 - 2  # 4 of 12 bytes, 8 of 20
        count = int(self._unpack(self._word, entry[4 : 4 + word])[0])
        size = count * struct.calcsize(self._order + code)
        offset = at + 4 + word
        if size > word:
            offset = int(self._unpack(self._word, entry[4 + word :])[0])
        if name in TABLES:
            if code not in ("H", "I", "Q"):
                raise Unsupported(f"{self._source.uri}: odd type of {name}")
            directory.tables[name] = Table(offset, self._order + code.translate(NUMPY), count)
        elif name in TEXTS and (texts or name == "jpeg_tables"):
            # A later tag of the same kind wins, as it does in OpenSlide.
            directory.texts[name] = self._read(offset, self._bounded(name, size, TEXTS[name]))
        elif count and code != "s" and name not in TEXTS:
            self._bounded(name, count, MAX_VALUES)
            numbers = self._unpack(code * count, self._read(offset, size))
            directory.values[name] = _rationals(numbers) if code == "II" else numbers

    def _bounded(self, name: str, size: int, limit: int) -> int:
        if size > limit:
            raise Unsupported(f"{self._source.uri}: TIFF tag {name} of {size} values")
        return size

    def _read(self, offset: int, size: int) -> bytes:
        """Bytes of the header, through a few cached blocks."""
        if offset + size > self._source.size:
            raise Unsupported(f"{self._source.uri}: the TIFF directory is cut short")
        for start, data in self._blocks:
            if start <= offset and offset + size <= start + len(data):
                return data[offset - start : offset - start + size]
        data = self._source.read(offset, min(self._source.size, offset + max(size, BLOCK)))
        if size <= BLOCK:
            self._blocks.append((offset, data))
        return data[:size]

    def _unpack(self, code: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self._order + code, data)

    def _pack(self, code: str, *values: int) -> bytes:
        return struct.pack(self._order + code, *values)


NUMPY = str.maketrans({"H": "u2", "I": "u4", "Q": "u8"})


def _rationals(numbers: tuple[int, ...]) -> Value:
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return tuple(a / b if b else 0.0 for a, b in pairs)
