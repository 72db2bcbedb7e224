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

BLUR_SIGMA = 1.0
"""Pixels (4 µm): averages out JPEG's colour noise, and keeps membranes a median would erase."""
GLASS = (200, 16)
"""A pixel of at least this green and at most this chroma may be glass; where they are at least
1% of the slide, their median colour is the glass's own tint and is divided out."""
CHROMA_CEILING = 32
"""Chroma is cut off here before Otsu, which then parts glass from stain, not pale from dense."""
THRESHOLD_BOUNDS = (8.0, 14.0)
"""Noise and dirt on clear glass reach 8; meninges and fat lie from 8 to 20, pale eosin above."""
CLEAR_GREEN = 247
"""Both stains absorb green: what lets more than this pass is glass, whatever its tint."""
GAP = 5
"""Pixels: gaps between fibres narrower than this (20 µm, two cells) are not holes."""
REACH = 11
"""Pixels: parts closer than this are one tissue when specks are told from tissue, so that
gauze such as meninges or fat is not dropped shred by shred."""
PEN_RATIO = 1.15
"""Absorbance of red over green: at most 0.92 in haematoxylin (Ruifrok & Johnston 2001), which
is the bluer stain, and 1.3 or more in blue and green ink."""
PEN_ABSORBANCE = 0.1
PEN_OVER_TISSUE = (0.85, 1.3)
"""Ratio and least absorbance of red where a stroke goes on over stained tissue: hardly bluer
than nuclei, but darker than they are, and joined to a stroke that is plain to see."""
INK_VALUE = 64
"""Black ink's brightest channel stays below; the densest nuclei at 4 µm stay above 70."""
PEN_AREA = 20_000.0
"""µm². A stroke is broad (0.3 mm and more): smaller spots of its colour are tissue or dust."""
MIN_AREA = 10_000.0
"""µm². Smaller specks (about three tiles at 40x) are debris."""


@tissue_methods.register("saturation-otsu")
def saturation_otsu(thumbnail: Thumbnail) -> NDArray[np.bool_]:
    """Coloured, absorbing, not ink, bool (h, w); specks dropped, holes left open.

    Saturation is taken as chroma (max - min of R, G, B), for that of HSV is noise in the
    dark. Black scanner background has no chroma and so is not tissue. Blue, green and black
    ink is left out; red and navy ink cannot be told from blood and nuclei by colour.
    """
    import cv2

    pixels: Pixels = cv2.GaussianBlur(thumbnail.pixels, (5, 5), BLUR_SIGMA)
    red, green, blue = cv2.split(_without_tint(pixels))
    value = cv2.max(cv2.max(red, green), blue)
    chroma = value - cv2.min(cv2.min(red, green), blue)
    pixel_area = thumbnail.microns**2
    pen = _pen(red, green, value, PEN_AREA / pixel_area)
    threshold = _threshold(chroma[~pen])
    stained: NDArray[np.bool_] = (chroma > threshold) & (green < CLEAR_GREEN)
    tissue = _closed(stained & ~pen, GAP) & ~pen
    return tissue & without_specks(_closed(tissue, REACH), MIN_AREA / pixel_area)


def _without_tint(pixels: Pixels) -> Pixels:
    """The pixels as they would look on white glass, uint8 (h, w, 3)."""
    import cv2

    sample = pixels[::4, ::4].reshape(-1, 3)
    chroma = sample.max(axis=1) - sample.min(axis=1)
    glass = sample[(sample[:, 1] >= GLASS[0]) & (chroma <= GLASS[1])]
    if len(glass) < 0.01 * len(sample):
        return pixels
    gain = 255 / np.median(glass, axis=0)
    table = np.clip(np.arange(256)[:, None] * gain + 0.5, 0, 255).astype(np.uint8)
    corrected: Pixels = cv2.LUT(pixels, table[None])
    return corrected


def _closed(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    import cv2

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed: NDArray[np.uint8] = cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_CLOSE, kernel)
    return closed.view(np.bool_)


def _threshold(chroma: NDArray[np.uint8]) -> float:
    """Otsu's threshold within its bounds, from chroma (n,)."""
    import cv2

    if not chroma.size:
        return THRESHOLD_BOUNDS[1]
    cut = np.minimum(chroma, CHROMA_CEILING)
    otsu, _ = cv2.threshold(cut, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return float(np.clip(otsu, *THRESHOLD_BOUNDS))


def _pen(
    red: NDArray[np.uint8], green: NDArray[np.uint8], value: NDArray[np.uint8], min_pixels: float
) -> NDArray[np.bool_]:
    """Strokes of blue, green and black ink, bool (h, w), with their blurred rim."""
    import cv2

    plain = (red < _darkest_stain(PEN_RATIO, PEN_ABSORBANCE)[green]) | (value < INK_VALUE)
    strokes = without_specks(plain, min_pixels)
    if strokes.any():
        over_tissue = red < _darkest_stain(*PEN_OVER_TISSUE)[green]
        _, labels = cv2.connectedComponents((over_tissue | strokes).view(np.uint8))
        strokes = np.isin(labels, np.unique(labels[strokes]))
    rim = np.ones((5, 5), np.uint8)
    grown: NDArray[np.uint8] = cv2.dilate(strokes.view(np.uint8), rim)
    return grown.view(np.bool_)


def _darkest_stain(ratio: float, least: float) -> NDArray[np.uint8]:
    """The least red that is not ink, for every value of green, uint8 (256,).

    Ink absorbs at least `ratio` times as much red as green, and `least` (natural log) at all.
    """
    absorbance = -np.log((np.arange(256) + 1) / 256)
    return (256 * np.exp(-np.maximum(ratio * absorbance, least)) - 1).clip(0, 255).astype(np.uint8)


def without_specks(mask: NDArray[np.bool_], min_pixels: float) -> NDArray[np.bool_]:
    """The mask less its 8-connected parts of fewer than `min_pixels` pixels, bool (h, w)."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= min_pixels
    large[0] = False
    kept: NDArray[np.bool_] = large[labels]
    return kept
