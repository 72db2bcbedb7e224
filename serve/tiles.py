"""Tiles out of a request's body: files in a multipart form, or one uint8 array."""

import io
import re
from collections.abc import Sequence
from email.message import Message

import numpy as np
from PIL import Image, UnidentifiedImageError

from pathray.errors import TileError
from pathray.slides.reader import Pixels
from pathray.tilestore import decode_image
from serve.problem import Problem
from serve.settings import Limits

NPY = "application/x-npy"
RAW = "application/octet-stream"
MULTIPART = "multipart/form-data"
_FORMATS = ("JPEG", "PNG")
_NPY_HEADER = 4096
"""Bytes within which a `.npy` header must end; a longer one is no array of tiles."""


def media_type(content_type: str | None) -> tuple[str, dict[str, str]]:
    """A Content-Type as its type in small letters and its parameters."""
    message = Message()
    message["content-type"] = content_type or ""
    given = message.get_params([("", "")])
    return given[0][0].lower(), {name.lower(): value for name, value in given[1:]}


def tiles_in(body: bytes, content_type: str | None, shape: str | None, limits: Limits) -> Pixels:
    """The tiles of a body, uint8 (N, S, S, 3), N > 0. A problem for anything else.

    `shape` is `N,H,W,3` for a raw body. Sizes are checked before pixels are decoded.
    """
    kind, parameters = media_type(content_type)
    if kind == MULTIPART:
        tiles = _decode(_files(body, parameters.get("boundary", "")), limits)
    elif kind == NPY:
        tiles = array_in(body)
    elif kind == RAW:
        tiles = _raw(body, shape)
    else:
        raise Problem(415, f"Content-Type: send {MULTIPART}, {NPY} or {RAW}")
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[3] != 3:
        raise Problem(422, f"tiles are uint8 (N, H, W, 3), not {tiles.dtype} {tiles.shape}")
    _check([tiles.shape[1:3]] * len(tiles), limits)
    return tiles


def array_in(body: bytes) -> np.ndarray:
    """The array of a `.npy` body, without a copy; a problem for pickles and torn files."""
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError("version")
        read = np.lib.format.read_array_header_1_0
        if version == (2, 0):
            read = np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream, max_header_size=_NPY_HEADER)
        if dtype.hasobject or fortran or not dtype.itemsize or min(shape, default=0) < 0:
            raise ValueError("order, type or shape")
        array: np.ndarray = np.frombuffer(body, dtype, offset=stream.tell())
        return array.reshape(shape)
    except Exception as error:  # numpy parses the header as Python: SyntaxError, TypeError, ...
        raise Problem(422, "the body is no plain .npy array in C order") from error


def _raw(body: bytes, shape: str | None) -> Pixels:
    if shape is None or not re.fullmatch(r"\d{1,9}(,\d{1,9}){3}", shape):
        raise Problem(422, "a raw body needs the query `shape=N,H,W,3`")
    sides = tuple(int(side) for side in shape.split(","))
    if np.prod(np.array(sides, object)) != len(body):
        raise Problem(422, f"the body has {len(body)} bytes, which is not {shape}")
    return np.frombuffer(body, np.uint8).reshape(sides)


def _files(body: bytes, boundary: str) -> list[bytes]:
    """The contents of a form's parts (RFC 2046): boundaries cannot occur in them."""
    if not boundary or len(boundary) > 70:
        raise Problem(422, "the form has no boundary")
    mark = b"--" + boundary.encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise Problem(422, "the form is cut off: its last boundary is missing")
    files = []
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank or head.strip(b" \t")[:2] != b"\r\n":
            raise Problem(422, "a part of the form has no header")
        files.append(content)
    return files


def _decode(files: Sequence[bytes], limits: Limits) -> Pixels:
    _check([_size(index, data) for index, data in enumerate(files)], limits)
    return np.stack([_pixels(index, data) for index, data in enumerate(files)])


def _size(index: int, data: bytes) -> tuple[int, int]:
    """Height and width as the header says; no pixel is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return image.height, image.width
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise Problem(422, f"tile {index} is neither JPEG nor PNG") from error
    except Image.DecompressionBombError as error:
        raise Problem(413, f"tile {index} has too many pixels") from error


def _pixels(index: int, data: bytes) -> Pixels:
    try:
        tile = decode_image(data)
    except TileError as error:
        raise Problem(422, f"tile {index} cannot be decoded, or is not RGB") from error
    if tile.dtype != np.uint8:
        raise Problem(422, f"tile {index} does not have 8 bits a channel")
    return tile


def _check(sizes: Sequence[tuple[int, ...]], limits: Limits) -> None:
    """Numbers and sizes of the tiles of a request, before they are decoded."""
    if not sizes:
        raise Problem(422, "there are no tiles in the request")
    if len(sizes) > limits.tiles:
        raise Problem(413, f"{len(sizes)} tiles: a request may have {limits.tiles}")
    height, width = sizes[0]
    if any(size != sizes[0] for size in sizes) or height != width or not height:
        raise Problem(422, "the tiles of a request are square and of one size")
    if height * width > limits.image_pixels:
        raise Problem(413, f"a tile may have {limits.image_pixels} pixels")
    if len(sizes) * height * width > limits.request_pixels:
        raise Problem(413, f"the tiles of a request may have {limits.request_pixels} pixels")
