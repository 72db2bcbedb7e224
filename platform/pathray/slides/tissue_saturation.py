"""The tissue method `saturation-otsu`: stained tissue is coloured, glass is not.

Otsu's threshold on the saturation of a blurred thumbnail is the field's usual mask (Otsu
1979; CLAM, Lu et al. 2021, doi:10.1038/s41551-020-00682-w). Alone it halves a slide that is
all glass or all tissue and splits pale from dense instead of tissue from glass; the bounds
below hold it to what a stain can look like. Numbers without a source were chosen on public
H&E and PAS slides of several scanners.
"""

import numpy as np
from numpy.typing import NDArray

from pathray.slides.reader import Pixels
from pathray.slides.thumbnail import Thumbnail
from pathray.slides.tissue_registry import tissue_methods

BLUR = 5
"""Side of the median filter in pixels: removes JPEG's colour noise, keeps edges."""
CHROMA_CEILING = 32
"""Chroma is cut off here before Otsu, which then parts glass from stain, not pale from dense."""
THRESHOLD_BOUNDS = (10.0, 20.0)
"""Glass reaches 10 (tinted, out of focus); the palest eosin starts at 20."""
GLASS_GREEN = 240
"""Both stains absorb green: what passes more than this is glass, whatever its tint."""
PEN_RATIO = 1.15
"""Absorbance of red over green: at most 0.92 in haematoxylin (Ruifrok & Johnston 2001), which
is the bluer stain, and 1.3 or more in blue and green ink."""
PEN_ABSORBANCE = 0.1
INK_VALUE = 64
"""Black ink's brightest channel stays below; the densest nuclei at 4 µm stay above 70."""
PEN_AREA = 40_000.0
"""µm². A stroke is broad (0.3 mm and more): smaller spots of its colour are tissue or dust."""
MIN_AREA = 10_000.0
"""µm². Smaller specks (about three tiles at 40x) are debris."""


@tissue_methods.register("saturation-otsu")
def saturation_otsu(thumbnail: Thumbnail) -> NDArray[np.bool_]:
    """Coloured, absorbing, not ink, bool (h, w); specks dropped, holes left open.

    Saturation is taken as chroma (max - min of R, G, B), for that of HSV is noise in the
    dark. Black scanner background has no chroma and so is not tissue.
    """
    import cv2

    blurred: Pixels = cv2.medianBlur(thumbnail.pixels, BLUR)
    red, green, blue = cv2.split(blurred)
    value = cv2.max(cv2.max(red, green), blue)
    chroma = value - cv2.min(cv2.min(red, green), blue)
    tissue: NDArray[np.bool_] = (chroma > _threshold(chroma)) & (green < GLASS_GREEN)
    pixel_area = thumbnail.microns**2
    tissue &= ~_pen(red, green, value, PEN_AREA / pixel_area)
    return without_specks(tissue, MIN_AREA / pixel_area)


def _threshold(chroma: NDArray[np.uint8]) -> float:
    import cv2

    cut = np.minimum(chroma, CHROMA_CEILING)
    otsu, _ = cv2.threshold(cut, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return float(np.clip(otsu, *THRESHOLD_BOUNDS))


def _pen(
    red: NDArray[np.uint8], green: NDArray[np.uint8], value: NDArray[np.uint8], min_pixels: float
) -> NDArray[np.bool_]:
    """Strokes of blue, green and black ink, bool (h, w), with their blurred rim."""
    import cv2

    absorbance = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
    needed = np.maximum(PEN_RATIO * absorbance, PEN_ABSORBANCE)
    ink = (absorbance[red] > needed[green]) | (value < INK_VALUE)
    strokes = without_specks(ink, min_pixels)
    rim = np.ones((5, 5), np.uint8)
    grown: NDArray[np.uint8] = cv2.dilate(strokes.view(np.uint8), rim)
    return grown.view(np.bool_)


def without_specks(mask: NDArray[np.bool_], min_pixels: float) -> NDArray[np.bool_]:
    """The mask less its 8-connected parts of fewer than `min_pixels` pixels, bool (h, w)."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= min_pixels
    large[0] = False
    kept: NDArray[np.bool_] = large[labels]
    return kept
