"""Finding a slide's tissue: the door to the methods, which register themselves on import."""

from math import ceil

import numpy as np

from pathray.slides import tissue_all, tissue_saturation
from pathray.slides.mask_image import mask_digest, read_mask_image
from pathray.slides.mpp import LARGEST, SMALLEST
from pathray.slides.reader import SlideInfo, SlideReader
from pathray.slides.thumbnail import Thumbnail, read_thumbnail, tissue_downsample
from pathray.slides.tissue_mask import TissueMask
from pathray.slides.tissue_registry import TissueMethod, tissue_methods

__all__ = [
    "DEFAULT_TISSUE_METHOD",
    "TissueMask",
    "TissueMethod",
    "find_tissue",
    "mask_digest",
    "read_mask_image",
    "segment",
    "tissue_all",
    "tissue_methods",
    "tissue_saturation",
]

DEFAULT_TISSUE_METHOD = "saturation-otsu"


def find_tissue(
    reader: SlideReader, method: str = DEFAULT_TISSUE_METHOD, mpp: float | None = None
) -> TissueMask:
    """The slide's tissue by the named method, on mask pixels of about 4 µm.

    `mpp` is the checked microns per pixel of level 0; without it what the slide says is taken
    where it is plausible, else 40x. Raises RequestError for an unknown method.
    """
    tissue_methods.get(method)
    said = reader.info.mpp
    if mpp is None and said is not None and SMALLEST <= said <= LARGEST:
        mpp = said
    thumbnail = read_thumbnail(reader, tissue_downsample(reader.info, mpp), mpp or 0.25)
    return segment(thumbnail, reader.info, method)


def segment(
    thumbnail: Thumbnail, info: SlideInfo, method: str = DEFAULT_TISSUE_METHOD
) -> TissueMask:
    """The tissue on a thumbnail of the slide, kept to the slide's scanned bounds.

    What could not be decoded counts as tissue: its tiles are then tried, and counted as lost
    if they fail too, where leaving them out would drop them in silence.
    """
    tissue = tissue_methods.get(method)(thumbnail) | thumbnail.unread
    x, y, width, height = info.bounds
    inside = np.zeros_like(tissue)
    rows = slice(int(y / thumbnail.scale[1]), ceil((y + height) / thumbnail.scale[1]))
    columns = slice(int(x / thumbnail.scale[0]), ceil((x + width) / thumbnail.scale[0]))
    inside[rows, columns] = True
    return TissueMask(tissue & inside, thumbnail.scale)
