"""From uint8 tiles to the network's input, on the network's device."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathray.encoders.spec import EncoderSpec, Interpolation

if TYPE_CHECKING:
    import torch


class Preprocess:
    """Resize as the spec says, crop the centre if it does, normalise.

    Tiles cross to the device as bytes. A tile already of the right side is not resampled.
    Resizing is antialiased, as the published pipelines' is, and keeps to 0..255.
    """

    def __init__(
        self, spec: EncoderSpec, device: "torch.device", memory_format: "torch.memory_format"
    ) -> None:
        import torch

        self.spec = spec
        self.device = device
        self.memory_format = memory_format
        mean = torch.tensor(spec.mean or (0.0, 0.0, 0.0), dtype=torch.float64)
        std = torch.tensor(spec.std or (1.0, 1.0, 1.0), dtype=torch.float64)
        # (x / 255 - mean) / std as one multiplication and one addition.
        self.scale = (1 / (255 * std)).float().view(1, 3, 1, 1).to(device)
        self.shift = (-mean / std).float().view(1, 3, 1, 1).to(device)

    def __call__(self, tiles: "NDArray[np.uint8] | torch.Tensor") -> "torch.Tensor":
        """Float32 (B, 3, input_size, input_size) of uint8 (B, H, W, 3)."""
        import torch

        batch = torch.as_tensor(tiles)
        if batch.dtype != torch.uint8 or batch.ndim != 4 or batch.shape[-1] != 3:
            raise ValueError(f"tiles are uint8 (B, H, W, 3), not {batch.dtype} {batch.shape}")
        images = batch.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        images = images.to(torch.float32, memory_format=self.memory_format)
        images = _resize(images, self.spec.tile_size, self.spec.interpolation)
        return torch.addcmul(self.shift, _crop(images, self.spec.input_size), self.scale)


def _resize(images: "torch.Tensor", side: int, interpolation: Interpolation) -> "torch.Tensor":
    from torch.nn import functional

    if images.shape[-2:] == (side, side):
        return images
    smooth = interpolation in ("bilinear", "bicubic")
    resized = functional.interpolate(
        images,
        size=(side, side),
        mode=interpolation,
        antialias=smooth,
        align_corners=False if smooth else None,
    )
    # Bicubic weights overshoot what an image file could hold.
    return resized.clamp_(0, 255)


def _crop(images: "torch.Tensor", side: int) -> "torch.Tensor":
    margin = (images.shape[-1] - side) // 2
    return images[..., margin : margin + side, margin : margin + side]
