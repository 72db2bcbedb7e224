"""The loop that people write: `loop.py SLIDE TILES.npy PROCESSES`, read_region in a pool."""

import sys
from collections.abc import Sequence
from multiprocessing import Pool

import numpy as np
import openslide

from tests.benchmarks.tiles import SIDE
from tests.benchmarks.workers.timing import best, tell


def read(slide: str, origins: Sequence[tuple[int, int]]) -> int:
    """One process's share, a contiguous run of the tiles."""
    with openslide.OpenSlide(slide) as opened:
        for x, y in origins:
            opened.read_region((x, y), 0, (SIDE, SIDE)).convert("RGB")
    return len(origins)


def main(slide: str, tiles: str, processes: int) -> None:
    origins = np.load(tiles)
    shares = [(slide, share.tolist()) for share in np.array_split(origins, processes)]

    def run() -> None:
        with Pool(processes) as pool:
            assert sum(pool.starmap(read, shares)) == len(origins)

    tell(seconds=best(run, 1), tiles=len(origins))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
