"""Deep zoom: a slide as a pyramid of small squares, the way web viewers ask for it.

Level `last` is the slide at full size, each level below it half as large, level 0 one pixel.
Squares are numbered by column and row, 256 pixels wide, smaller at the right and bottom edge,
without overlap.
"""

from dataclasses import dataclass

from pathray.slides.reader import Pixels, SlideInfo, SlideReader

SQUARE = 256
MOST_PIXELS = 4096 * 4096
"""Pixels of a slide's level that one square may cost: a slide without small levels would be
read whole for a square of its overview."""


@dataclass(frozen=True)
class DeepZoom:
    """The geometry of a slide of `width` x `height` level-0 pixels."""

    width: int
    height: int

    @property
    def last(self) -> int:
        """The level of full size."""
        return (max(self.width, self.height) - 1).bit_length()

    def downsample(self, level: int) -> int:
        """Level-0 pixels per pixel of a deep-zoom level; LookupError where there is none."""
        if not 0 <= level <= self.last:
            raise LookupError(f"no level {level}: they go from 0 to {self.last}")
        return 1 << (self.last - level)

    def size(self, level: int) -> tuple[int, int]:
        """Width and height of a level in its own pixels."""
        downsample = self.downsample(level)
        return -(-self.width // downsample), -(-self.height // downsample)

    def box(self, level: int, column: int, row: int) -> tuple[int, int, int, int]:
        """x, y, width, height of a square in pixels of its level; LookupError outside."""
        width, height = self.size(level)
        x, y = column * SQUARE, row * SQUARE
        if not (0 <= x < width and 0 <= y < height):
            raise LookupError(f"no square {column}, {row} in level {level}")
        return x, y, min(SQUARE, width - x), min(SQUARE, height - y)

    def descriptor(self, suffix: str) -> str:
        """The DZI document; `suffix` is that of the squares (`jpeg`, `png`)."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" '
            f'Format="{suffix}" Overlap="0" TileSize="{SQUARE}">'
            f'<Size Width="{self.width}" Height="{self.height}"/></Image>\n'
        )


def read_square(reader: SlideReader, level: int, column: int, row: int) -> Pixels | None:
    """RGB of a square, uint8 (h, w, 3), reduced from the nearest finer level of the slide.

    None where that would read more than `MOST_PIXELS`: cut it from a thumbnail then.
    LookupError for a square that is not there, TileError for one that cannot be decoded.
    """
    import cv2

    zoom = DeepZoom(reader.info.width, reader.info.height)
    x, y, width, height = zoom.box(level, column, row)
    downsample = zoom.downsample(level)
    source = _finer_level(reader.info, downsample)
    ratio = downsample / reader.info.level_downsamples[source]
    left, top = round(x * ratio), round(y * ratio)
    wide, high = max(1, round(width * ratio)), max(1, round(height * ratio))
    if wide * high > MOST_PIXELS:
        return None
    pixels = reader.read(source, left, top, wide, high)
    if (wide, high) == (width, height):
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def square_of_thumbnail(
    thumbnail: Pixels, zoom: DeepZoom, level: int, column: int, row: int
) -> Pixels:
    """The square of `read_square`, enlarged or reduced from a picture of the whole slide."""
    import cv2

    x, y, width, height = zoom.box(level, column, row)
    whole = zoom.size(level)
    across, down = thumbnail.shape[1] / whole[0], thumbnail.shape[0] / whole[1]
    left, top = int(x * across), int(y * down)
    right = max(left + 1, round((x + width) * across))
    bottom = max(top + 1, round((y + height) * down))
    part = thumbnail[top:bottom, left:right]
    how = cv2.INTER_AREA if part.shape[1] > width else cv2.INTER_LINEAR
    return cv2.resize(part, (width, height), interpolation=how)


def _finer_level(info: SlideInfo, downsample: float) -> int:
    # Levels of a scanner are rounded: 4.0003 serves for 4.
    fine = [i for i, d in enumerate(info.level_downsamples) if d <= downsample * 1.01]
    return max(fine, key=lambda i: info.level_downsamples[i], default=0)
