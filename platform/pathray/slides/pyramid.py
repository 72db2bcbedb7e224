"""Writing a pyramidal tiled TIFF that slide readers open."""

from pathlib import Path

import numpy as np

from pathray.slides.reader import Pixels

TILE = 256


def write_pyramid(
    path: Path, pixels: Pixels, mpp: float, downsamples: tuple[int, ...] = (1, 4, 16)
) -> None:
    """Write RGB `pixels` (h, w, 3) with levels reduced by area averaging, in JPEG tiles.

    `mpp` goes into the TIFF resolution (pixels per cm), where OpenSlide's generic reader
    finds it. The bytes depend on the pixels alone: no time and no version is written.
    """
    import cv2
    import tifffile

    with tifffile.TiffWriter(path) as tiff:
        for downsample in downsamples:
            height, width = (max(1, side // downsample) for side in pixels.shape[:2])
            level = pixels
            if downsample > 1:
                level = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
            per_cm = 10_000 / (mpp * downsample)
            tiff.write(
                np.ascontiguousarray(level),
                tile=(TILE, TILE),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 85},
                subfiletype=1 if downsample > 1 else 0,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                metadata=None,
                software=False,
            )
