"""Packing a cohort into its store: `bagstore FOLDER CACHE`, seconds and peak memory."""

import sys
import time
from pathlib import Path

from pathray.mil.bagfiles import find_bag_files
from pathray.mil.store import open_bag_store
from tests.benchmarks.workers.timing import peak_memory, tell

ROOM = 10**12


def main(folder: str, cache: str) -> None:
    before = peak_memory()
    started = time.perf_counter()
    with open_bag_store(find_bag_files(folder), ROOM, Path(cache)) as store:
        tiles = store.offsets[-1]
    seconds = time.perf_counter() - started
    peak = peak_memory()
    size = tiles * store.made.dim * 2
    tell(seconds=seconds, tiles=tiles, before=before, peak=peak, size=size)


if __name__ == "__main__":
    main(*sys.argv[1:])
