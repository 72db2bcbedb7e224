"""The tissue method `all`: every tile is kept, for crops and for masks made elsewhere."""

import numpy as np
from numpy.typing import NDArray

from pathray.slides.thumbnail import Thumbnail
from pathray.slides.tissue_registry import tissue_methods


@tissue_methods.register("all")
def everything(thumbnail: Thumbnail) -> NDArray[np.bool_]:
    """All of the thumbnail is tissue, bool (h, w)."""
    return np.ones(thumbnail.pixels.shape[:2], np.bool_)
