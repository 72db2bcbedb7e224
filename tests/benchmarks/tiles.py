"""The tiles that all contenders read: 224 pixels of level 0, on the grid of the slide."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathray.slides.open import open_slide
from pathray.slides.spool import Spool, default_folder
from pathray.tiling import Plan, Tiling, plan_tiles

SIDE = 224


def tissue_tiling() -> Tiling:
    """What the jobs do by default, at the slide's own resolution."""
    return Tiling(tile_size=SIDE, mpp="native")


def every_tile() -> Tiling:
    """The whole grid."""
    return Tiling(tile_size=SIDE, mpp="native", tissue="all", min_tissue=0)


def plan_of(slide: Path, tiling: Tiling) -> Plan:
    """The plan of a local slide."""
    with open_slide(str(slide), Spool(default_folder(), 1)) as reader:
        return plan_tiles(reader, "slide", tiling)[0]


def corners(plan: Plan, most: int | None = None) -> NDArray[np.int64]:
    """Level-0 corners (N, 2) of x, y of a plan's first tiles."""
    return np.stack([plan.x, plan.y], axis=1).astype(np.int64)[:most]
