"""Finds tissue and lays tiles on a slide as the jobs do: `plan.py SLIDE ROUNDS`."""

import sys

from pathray.slides.tiff import TiffReader
from pathray.tiling import plan_tiles
from tests.benchmarks.tiles import tissue_tiling
from tests.benchmarks.workers.timing import best, tell


def main(slide: str, rounds: int) -> None:
    counts = []

    def plan() -> None:
        reader = TiffReader.open(slide)
        counts.append(len(plan_tiles(reader, "slide", tissue_tiling())[0].x))
        reader.close()

    tell(seconds=best(plan, rounds), tiles=counts[0])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
