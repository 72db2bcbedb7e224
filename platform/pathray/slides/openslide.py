"""Any slide OpenSlide reads, from a local file."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray
from openslide import lowlevel

from pathray.errors import SlideError, TileError, one_line
from pathray.slides.reader import Pixels, SlideInfo

CACHE_BYTES = 64 * 1024 * 1024
"""Decoded source tiles that OpenSlide keeps: two rows of a 40x slide."""

_MPP_PROPERTIES = (openslide.PROPERTY_NAME_MPP_X, "aperio.MPP")


class OpenSlideReader:
    """A `SlideReader` over OpenSlide.

    OpenSlide addresses a level by integer level-0 coordinates, so a level whose downsample
    is not whole can be met only to within 1/(2 * downsample) of its pixel; level 0 and
    whole downsamples are exact.
    """

    name = "openslide"

    def __init__(self, path: str) -> None:
        """Open the slide at a local path; SlideError when OpenSlide cannot."""
        self._path = path
        self._slide = _open(path)
        self.info = _info(self._slide)

    @property
    def bytes_read(self) -> int:
        """The file with its companions: OpenSlide reads from a whole local copy."""
        path = Path(self._path)
        folder = path.with_suffix("")
        companions = folder.iterdir() if folder.is_dir() else ()
        return sum(p.stat().st_size for p in (path, *companions) if p.is_file())

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """See `SlideReader.read`."""
        downsample = self.info.level_downsamples[level]
        buffer = np.empty((height, width, 4), np.uint8)
        try:
            lowlevel._read_region(
                self._slide._osr,
                buffer.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32)),
                round(x * downsample),
                round(y * downsample),
                level,
                width,
                height,
            )
        except openslide.OpenSlideError as error:
            # After an error every further call on the handle fails: begin with a new one.
            self._slide.close()
            self._slide = _open(self._path)
            raise TileError(one_line(error)) from error
        return _flatten(buffer, self.info.background)

    def read_squares(
        self, level: int, origins: NDArray[np.int64], side: int
    ) -> Iterator[Pixels | None]:
        """See `SlideReader.read_squares`."""
        for x, y in origins.tolist():
            try:
                yield self.read(level, x, y, side, side)
            except TileError:
                yield None

    def close(self) -> None:
        """See `SlideReader.close`."""
        self._slide.close()


def _open(path: str) -> openslide.OpenSlide:
    try:
        slide = openslide.OpenSlide(path)
        slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
    except (openslide.OpenSlideError, OSError) as error:
        problem = str(error) or "not a slide format that it knows"
        raise SlideError(f"OpenSlide cannot open it: {problem}") from error
    return slide


def _info(slide: openslide.OpenSlide) -> SlideInfo:
    properties = slide.properties
    width, height = slide.dimensions
    stated, source = None, None
    for name in _MPP_PROPERTIES:
        stated = _number(properties.get(name))
        if stated is not None:
            source = name
            break
    colour = properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "ffffff")
    return SlideInfo(
        width=width,
        height=height,
        level_sizes=tuple(slide.level_dimensions),
        level_downsamples=tuple(slide.level_downsamples),
        bounds=_bounds(slide, width, height),
        mpp=stated,
        mpp_source=source,
        background=(int(colour[:2], 16), int(colour[2:4], 16), int(colour[4:6], 16)),
    )


def _bounds(slide: openslide.OpenSlide, width: int, height: int) -> tuple[int, int, int, int]:
    names = (
        openslide.PROPERTY_NAME_BOUNDS_X,
        openslide.PROPERTY_NAME_BOUNDS_Y,
        openslide.PROPERTY_NAME_BOUNDS_WIDTH,
        openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
    )
    values = [_number(slide.properties.get(name)) for name in names]
    x, y, w, h = (None if value is None else int(value) for value in values)
    x, y = x or 0, y or 0
    return (x, y, w or width - x, h or height - y)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _flatten(bgra: Pixels, background: tuple[int, int, int]) -> Pixels:
    """Premultiplied BGRA over the background colour, as RGB."""
    import cv2

    rgb: Pixels = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGB)
    alpha = bgra[..., 3]
    if alpha.min() == 255:
        return rgb
    missing = (255 - alpha.astype(np.uint16))[..., None]
    fill = (missing * np.asarray(background, np.uint16) + 127) // 255
    return np.minimum(rgb + fill, 255).astype(np.uint8)
