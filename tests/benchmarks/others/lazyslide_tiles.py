"""LazySlide on the tiles of the comparison; run by a Python that has it, not by ours.

lazyslide_tiles.py read SLIDE TILES.npy ROUNDS
lazyslide_tiles.py plan SLIDE ROUNDS
"""

import json
import sys
import time
from importlib.metadata import version

import lazyslide as zs
import numpy as np
import torch
from wsidata import open_wsi

SIDE = 224


def read(slide, tiles, rounds):
    """Its torch dataset, tile by tile, over the tiles of its grid that are asked for."""
    wsi = open_wsi(slide, store=None)
    zs.pp.tile_tissues(wsi, SIDE, tissue_key=None)
    bounds = wsi["tiles"].bounds
    place = {
        (int(x), int(y)): i
        for i, (x, y) in enumerate(zip(bounds["minx"], bounds["miny"], strict=True))
    }
    wanted = [place[int(x), int(y)] for x, y in np.load(tiles)]
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        dataset = wsi.ds.tile_images()
        for index in wanted:
            assert dataset[index]["image"].shape == (SIDE, SIDE, 3)
        seconds.append(time.perf_counter() - start)
    return {"tiles": len(wanted), "seconds": min(seconds), "backend": wsi.reader.name}


def plan(slide, rounds):
    """Tissue and tiles by its defaults, its background filter set to our least tissue."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        wsi = open_wsi(slide, store=None)
        zs.pp.find_tissues(wsi)
        zs.pp.tile_tissues(wsi, SIDE, background_fraction=0.25)
        seconds.append(time.perf_counter() - start)
    return {"tiles": len(wsi["tiles"]), "seconds": min(seconds), "backend": wsi.reader.name}


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, slide, *rest = sys.argv[1:]
    done = read(slide, rest[0], int(rest[1])) if what == "read" else plan(slide, int(rest[0]))
    print(json.dumps(done | {"version": version("lazyslide")}))
