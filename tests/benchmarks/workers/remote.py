"""A slide in an object store, as the jobs read it: `remote.py BACKEND URI CACHE MOST_TILES`.

Opens it, finds tissue, and cuts its tiles piece by piece in one process.
"""

import sys
import time
from pathlib import Path

from pathray.slides.open import Backend, open_slide
from pathray.slides.spool import Spool
from pathray.tiling import cut_tiles, plan_tiles
from tests.benchmarks.tiles import tissue_tiling
from tests.benchmarks.workers.timing import tell


def main(backend: Backend, uri: str, cache: Path, most: int) -> None:
    spool = Spool(cache, 1 << 40)
    start = time.perf_counter()
    with open_slide(uri, spool, backend) as reader:
        plan = plan_tiles(reader, "slide", tissue_tiling())[0].part(0, most)
        planning = reader.bytes_read
    planned = time.perf_counter() - start
    tiles = fetched = 0
    for begin, end in plan.pieces():
        with open_slide(uri, spool, backend) as reader:
            tiles += sum(tile is not None for tile in cut_tiles(reader, plan.part(begin, end)))
            fetched += reader.bytes_read
    tell(
        tiles=tiles,
        planned=planned,
        seconds=time.perf_counter() - start,
        planning_bytes=planning,
        tile_bytes=fetched,
    )


if __name__ == "__main__":
    backend, uri, cache, most = sys.argv[1:]
    assert backend in ("auto", "openslide")
    main(backend, uri, Path(cache), int(most))
