"""Mean and deviation of the colour channels: the floor that any encoder must beat.

Six numbers a tile, no weights, no torch: tests and the pipeline's own throughput use it.
"""

import numpy as np
from numpy.typing import NDArray

from pathray.encoders.digest import digest_of
from pathray.encoders.spec import EncoderSpec, Precision, add
from pathray.errors import RequestError


class MeanRGB:
    """(mean R, G, B, deviation R, G, B) of each tile, scaled to 0..1."""

    def __init__(self, spec: EncoderSpec) -> None:
        self.spec = spec
        self.digest = digest_of({}, spec)
        self.precision: Precision = "fp32"
        self.dim = spec.width
        self.input_size = spec.input_size
        self.mpp = spec.mpp

    def __call__(self, tiles: object) -> NDArray[np.float32]:
        """Float32 (B, 6) of uint8 (B, H, W, 3), of any side."""
        import cv2

        batch = np.asarray(tiles)
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[-1] != 3:
            raise ValueError(f"tiles are uint8 (B, H, W, 3), not {batch.dtype} {batch.shape}")
        height, width = batch.shape[1:3]
        planes = [np.empty((height, width), np.uint8) for _ in range(3)]
        moments = np.empty((len(batch), 2, 3), dtype=np.float64)
        for tile, (mean, deviation) in zip(batch, moments, strict=True):
            # OpenCV has vector code for sums over one channel and none over three: sums of
            # whole numbers, which are exact, from planes that stay in the cache.
            cv2.split(tile, planes)
            squares = np.array([cv2.norm(plane, cv2.NORM_L2SQR) for plane in planes])
            mean[:] = [cv2.sumElems(plane)[0] for plane in planes]
            mean /= height * width
            deviation[:] = np.sqrt(np.maximum(squares / (height * width) - mean**2, 0.0))
        return (moments.reshape(len(batch), 6) / 255.0).astype(np.float32)

    def patch_tokens(self, tiles: object) -> NDArray[np.float32]:  # noqa: ARG002
        raise RequestError(f"encoder {self.spec.name!r} has no patch tokens")


add(
    EncoderSpec(
        name="mean_rgb",
        builder=MeanRGB,
        weights=None,
        input_size=224,
        mean=None,
        std=None,
        interpolation="area",
        pooling="mean_std",
        width=6,
        mpp=None,
        licence="Apache-2.0",
        source="pathray",
        gated=False,
        precision="fp32",
        light=True,
    )
)
