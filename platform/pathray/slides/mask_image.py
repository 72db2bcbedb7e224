"""A tissue mask made elsewhere, given as an image."""

import hashlib

import numpy as np

from pathray import storage
from pathray.errors import SlideError
from pathray.slides.reader import SlideInfo
from pathray.slides.tissue_mask import TissueMask

ASPECT_TOLERANCE = 0.02


def read_mask_image(uri: str, info: SlideInfo) -> TissueMask:
    """The mask image at `uri` (any fsspec URI; PNG, TIFF, ...) laid over the whole slide.

    Tissue is where any colour channel is not zero; an alpha channel is not looked at. Raises
    SlideError when it is not there or no image, or when its shape is not the slide's (within 2%).
    """
    import cv2

    image = cv2.imdecode(np.frombuffer(_content(uri), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SlideError(f"mask {uri} is not an image; give a PNG or TIFF of the whole slide")
    height, width = image.shape[:2]
    if abs(width * info.height / (height * info.width) - 1) > ASPECT_TOLERANCE:
        raise SlideError(
            f"mask {uri} is {width} x {height}, the slide {info.width} x {info.height}: "
            "their shapes differ; give a mask of the whole slide"
        )
    pixels = image.reshape(height, width, -1)[..., :3].any(axis=2)
    return TissueMask(pixels, (info.width / width, info.height / height))


def mask_digest(uri: str) -> str:
    """The sha256 of the mask image's bytes, in hex; raises SlideError when there is none."""
    return hashlib.sha256(_content(uri)).hexdigest()


def _content(uri: str) -> bytes:
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError as error:
        raise SlideError(f"mask {uri} does not exist") from error
    if not content:
        raise SlideError(f"mask {uri} is an empty file")
    return content
