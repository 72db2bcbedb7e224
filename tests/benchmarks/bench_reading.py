"""Rates of reading 224-pixel squares of one slide, side by side in one run on one core.

    python tests/benchmarks/bench_reading.py SLIDE [--squares 2000] [--side 224] [--level 0]

Compares a loop of OpenSlide's read_region, the range reader, and the bare decoder on the
compressed source tiles under the same area, in squares' worth of pixels.
"""

import argparse
import time

import numpy as np
import openslide

from pathray.slides.tiff import TiffReader
from pathray.slides.tilestream import TileStream, tile_buffer
from pathray.slides.windows import Grid, plan_windows


def contiguous(reader: TiffReader, level: int, side: int, count: int) -> np.ndarray:
    """Origins of a square block of squares in the middle of the level, in (y, x) order."""
    width, height = reader.info.level_sizes[level]
    columns = min(round(count**0.5), width // side)
    rows = min(count // columns, height // side)
    left, top = (width - columns * side) // 2, (height - rows * side) // 2
    return np.array(
        [[left + c * side, top + r * side] for r in range(rows) for c in range(columns)]
    )


def openslide_rate(path: str, level: int, origins: np.ndarray, side: int) -> float:
    with openslide.OpenSlide(path) as slide:
        scale = slide.level_downsamples[level]
        start = time.perf_counter()
        for x, y in origins.tolist():
            slide.read_region((round(x * scale), round(y * scale)), level, (side, side)).convert(
                "RGB"
            )
        return len(origins) / (time.perf_counter() - start)


def reader_rate(path: str, level: int, origins: np.ndarray, side: int) -> float:
    start = time.perf_counter()
    reader = TiffReader.open(path)
    count = sum(square is not None for square in reader.read_squares(level, origins, side))
    rate = count / (time.perf_counter() - start)
    reader.close()
    return rate


def decoder_rate(path: str, level: int, origins: np.ndarray, side: int) -> float:
    """The codec alone, on tiles already in memory, in squares' worth of source pixels."""
    reader = TiffReader.open(path)
    page = reader._index.pyramid.levels[level]
    grid = Grid(page.width, page.height, page.tile_width, page.tile_height, page.across)
    plan = plan_windows(grid, origins, side, side)
    numbers = np.array([s.tile for steps in plan for s in steps if s.load])
    kept: list[bytes] = []
    table = reader._index.tables[level]
    gather = TileStream(reader._source, page, table, lambda data, _: kept.append(data), numbers)
    for _ in numbers:
        gather.next()
    out = tile_buffer((page.tile_height, page.tile_width, 3))
    decode = reader._index.decoders[level]
    start = time.perf_counter()
    for data in kept:
        decode(data, out)
    seconds = time.perf_counter() - start
    reader.close()
    return len(kept) * out.size / (side * side * 3) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide")
    parser.add_argument("--squares", type=int, default=2000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--level", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with_reader = TiffReader.open(arguments.slide)
    origins = contiguous(with_reader, arguments.level, arguments.side, arguments.squares)
    with_reader.close()
    rates = {
        name: max(
            measure(arguments.slide, arguments.level, origins, arguments.side)
            for _ in range(arguments.repeats)
        )
        for name, measure in (
            ("openslide read_region", openslide_rate),
            ("TiffReader.read_squares", reader_rate),
            ("bare decoder", decoder_rate),
        )
    }
    base = rates["openslide read_region"]
    print(f"{len(origins)} squares of {arguments.side}, level {arguments.level}")
    for name, rate in rates.items():
        print(f"{name:26s} {rate:9.0f} squares/s {rate / base:6.2f}x")


if __name__ == "__main__":
    main()
