"""hs2p on the tiles of the comparison; run by a Python that has it, not by ours.

hs2p_tiles.py BACKEND read SLIDE TILES.npy ROUNDS
hs2p_tiles.py BACKEND plan SLIDE ROUNDS
"""

import json
import sys
import time
from dataclasses import replace
from importlib.metadata import version

import numpy as np
from hs2p import preprocess_slide
from hs2p.wsi import iter_tile_arrays_from_result
from hs2p.wsi.reader import open_slide

SIDE = 224


def tiled(slide, backend):
    """Tissue and tiles by its defaults, at the slide's own spacing and our least tissue."""
    with open_slide(slide, backend=backend) as opened:
        spacing = opened.spacing
    return preprocess_slide(
        image_path=slide,
        sample_id="slide",
        backend=backend,
        requested_tile_size_px=SIDE,
        requested_spacing_um=spacing,
        min_tissue_fraction=0.75,
    )


def read(slide, backend, tiles, rounds):
    """Its iterator, which reads blocks of up to 8 x 8 tiles, over the tiles asked for."""
    x, y = np.load(tiles).T
    result = tiled(slide, backend)
    ours = replace(
        result.tiles,
        x=x,
        y=y,
        tissue_fractions=np.ones(len(x), np.float32),
        tile_index=np.arange(len(x), dtype=np.int32),
    )
    result = replace(result, tiles=ours)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        shapes = [tile.shape[:2] for tile in iter_tile_arrays_from_result(result=result)]
        seconds.append(time.perf_counter() - start)
        assert shapes == [(SIDE, SIDE)] * len(x)
    return {"tiles": len(x), "seconds": min(seconds)}


def plan(slide, backend, rounds):
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = tiled(slide, backend)
        seconds.append(time.perf_counter() - start)
    return {"tiles": len(result.x), "seconds": min(seconds)}


if __name__ == "__main__":
    backend, what, slide, *rest = sys.argv[1:]
    if what == "read":
        done = read(slide, backend, rest[0], int(rest[1]))
    else:
        done = plan(slide, backend, int(rest[0]))
    print(json.dumps(done | {"version": version("hs2p")}))
