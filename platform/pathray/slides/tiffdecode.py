"""One compressed TIFF tile to RGB pixels, by imagecodecs, with every claim checked first.

The codecs allocate what a stream's header claims before they compare it with what we expect,
so the header is read here first. Pixels are OpenSlide's: the colour space of a JPEG is what
the TIFF says, never what the JPEG's own markers say.
"""

from collections.abc import Callable

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pathray.errors import TileError
from pathray.slides.reader import Pixels
from pathray.slides.tiffpyramid import J2K_RGB, J2K_YCBCR, JPEG, LZW, NONE, YCBCR, Level

MAX_SCANS = 100
"""A progressive JPEG may ask for a pass over the tile with every few bytes."""
START_OF_SCAN, PROGRESSIVE = 0xDA, 0xC2
START_OF_FRAME = (0xC0, 0xC1, PROGRESSIVE)
"""Baseline, extended and progressive Huffman coding."""
SIZ_BYTES = 51
TABLE_MARKERS = (0xDB, 0xC4, 0xDD, 0xFE, *range(0xE0, 0xF0))

Decoder = Callable[[bytes, Pixels], None]
"""Decodes a tile into a contiguous uint8 (tile height, tile width, 3) array."""


def tile_decoder(level: Level) -> Decoder:
    """The decoder for a level's tiles. It raises TileError on data that is not a whole tile."""
    if level.compression == JPEG:
        decode = _jpeg(level)
    elif level.compression in (J2K_RGB, J2K_YCBCR):
        decode = _jpeg2000(level)
    else:
        decode = _raw(level)

    def checked(data: bytes, out: Pixels) -> None:
        try:
            decode(data, out)
        except Exception as error:  # each codec has errors of its own; all mean a lost tile
            raise TileError(f"tile cannot be decoded: {error}") from error

    return checked


def _jpeg(level: Level) -> Decoder:
    tables = level.jpeg_tables
    if tables is not None and _headers(tables)[0] is not None:
        raise ValueError("JPEG tables with an image in them")
    space = imagecodecs.JPEG8.CS.YCbCr if level.photometric == YCBCR else imagecodecs.JPEG8.CS.RGB
    rgb = imagecodecs.JPEG8.CS.RGB
    wanted = (level.tile_width, level.tile_height, 3)

    def decode(data: bytes, out: Pixels) -> None:
        frame, one_scan = _headers(data)
        if frame != wanted:
            raise ValueError(f"a JPEG of {frame} where {wanted} is declared")
        if data[-2:] != b"\xff\xd9" and data.rfind(b"\xff\xd9") < 0:
            raise ValueError("the JPEG data is cut short")
        if not one_scan and data.count(b"\xff\xda") > MAX_SCANS:
            raise ValueError("a JPEG with too many scans")
        imagecodecs.jpeg8_decode(data, tables=tables, colorspace=space, outcolorspace=rgb, out=out)

    return decode


def _headers(data: bytes) -> tuple[tuple[int, int, int] | None, bool]:
    """Read a JPEG's markers up to its first scan.

    Returns (width, height, components), None for a stream that holds tables only, and
    whether one scan holds it all. Raises ValueError on anything but 8-bit Huffman coding.
    """
    if data[:2] != b"\xff\xd8":
        raise ValueError("not a JPEG")
    at, frame, marker, progressive = 2, None, 0, False
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == START_OF_SCAN and frame:
            return frame, data[at + 4] == frame[2] and not progressive
        if marker in START_OF_FRAME and frame is None and data[at + 4] == 8:
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            frame, progressive = (width, height, data[at + 9]), marker == PROGRESSIVE
        elif marker not in TABLE_MARKERS:
            break
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    if frame is None and data[at : at + 2] in (b"\xff\xd9", b""):
        return None, False
    raise ValueError(f"an odd JPEG: marker {marker:#x} among its headers")


def check_jpeg2000(data: bytes, level: Level) -> None:
    """Read a JPEG 2000 stream's first `SIZ_BYTES`; raise ValueError where we do not decode it.

    They hold SOC and SIZ: the image's size, offset, tile size and tile offset as 32-bit
    numbers, then precision and subsampling of each component.
    """
    sides = level.tile_width.to_bytes(4, "big") + level.tile_height.to_bytes(4, "big")
    if data[:4] != b"\xff\x4f\xff\x51" or data[8:24] != sides + bytes(8):
        raise ValueError(f"not a JPEG 2000 stream of {level.tile_width} x {level.tile_height}")
    if data[40:SIZ_BYTES] != b"\x00\x03" + b"\x07\x01\x01" * 3:
        raise ValueError("JPEG 2000 components that are subsampled or not three of 8 bits")


def _jpeg2000(level: Level) -> Decoder:
    def decode(data: bytes, out: Pixels) -> None:
        check_jpeg2000(data, level)
        imagecodecs.jpeg2k_decode(data, out=out)
        if level.compression == J2K_YCBCR:
            out[...] = _ycbcr_to_rgb(out)

    return decode


def _ycbcr_to_rgb(pixels: Pixels) -> NDArray[np.uint8]:
    """Full-range BT.601, as in JFIF."""
    luma, blue, red = np.moveaxis(pixels.astype(np.float32), -1, 0)
    blue, red = blue - 128, red - 128
    rgb = (luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue)
    return np.clip(np.rint(np.stack(rgb, axis=-1)), 0, 255).astype(np.uint8)


def _raw(level: Level) -> Decoder:
    size, compression = level.tile_bytes, level.compression

    def decode(data: bytes, out: Pixels) -> None:
        raw: bytes | bytearray = data
        if compression == LZW:
            raw = imagecodecs.lzw_decode(data, out=size)
        elif compression != NONE:
            raw = imagecodecs.deflate_decode(data, out=size)
        if len(raw) < size:
            raise ValueError(f"{len(raw)} bytes instead of {size}")
        out.reshape(-1)[:] = np.frombuffer(raw, np.uint8, size)
        if compression != NONE and level.predictor == 2:
            np.add.accumulate(out, axis=1, dtype=np.uint8, out=out)

    return decode
