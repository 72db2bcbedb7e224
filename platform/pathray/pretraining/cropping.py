"""Random resized crops of a whole batch at once, as two matrix products.

Resampling is linear in the pixels and separable: the rows of a crop are one matrix a sample,
its columns another, and a flip reverses one. With the weights of an antialiased bicubic
resize that is torchvision's `resized_crop(..., BICUBIC, antialias=True)`, and right also where
a crop is larger than what it becomes, which bilinear or bicubic grid sampling would alias.
"""

import math

import torch

from pathray.pretraining.randomness import uniform

ATTEMPTS = 10
"""Boxes are proposed so often; where none fits, the whole tile is taken (torchvision)."""
LOWEST_RATIO = 3 / 4
"""Width by height of a crop is log-uniform between this and its inverse."""
CUBIC = -0.5
"""Keys' cubic convolution (1981), the parameter of PIL and of torch's antialiased bicubic."""


def random_boxes(
    seed: int, step: int, index: torch.Tensor, side: int, scale: tuple[float, float]
) -> torch.Tensor:
    """Crops (B, 4) float32 of whole pixels: top, left, height, width, of tiles of `side`.

    Distributed as torchvision's RandomResizedCrop: area uniform in `scale` of the tile's.
    """
    draws = uniform(seed, step, index, "crop", 2 * ATTEMPTS + 2)
    area = side * side * (scale[0] + (scale[1] - scale[0]) * draws[:, :ATTEMPTS])
    ratio = ((2 * draws[:, ATTEMPTS:-2] - 1) * -math.log(LOWEST_RATIO)).exp()
    width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (width > 0) & (width <= side) & (height > 0) & (height <= side)
    first = fits.int().argmax(1, keepdim=True)  # of equal values the first
    some = fits.any(1)
    size = [torch.where(some, x.gather(1, first)[:, 0], side) for x in (height, width)]
    corner = [(draws[:, -2 + i] * (side - size[i] + 1)).floor() for i in (0, 1)]
    return torch.stack([*corner, *size], 1)


def random_flips(seed: int, step: int, index: torch.Tensor, vertical: bool) -> torch.Tensor:
    """Which tiles are flipped, (B, 2) bool: upside down (with `vertical`), left to right."""
    return uniform(seed, step, index, "flip", 2) < torch.tensor(
        [0.5 if vertical else 0.0, 0.5], device=index.device
    )


def resized_crops(
    tiles: torch.Tensor, boxes: torch.Tensor, flips: torch.Tensor, size: int
) -> torch.Tensor:
    """Float32 (B, 3, size, size) in 0..1 of tiles (B, H, W, 3) uint8, on their device."""
    count, height, width, _ = tiles.shape
    rows = _weights(boxes[:, 0], boxes[:, 2], flips[:, 0], height, size) / 255
    columns = _weights(boxes[:, 1], boxes[:, 3], flips[:, 1], width, size)
    tall = torch.bmm(rows, tiles.reshape(count, height, width * 3).float())
    tall = tall.view(count, size, width, 3).permute(0, 3, 1, 2).reshape(count, 3 * size, width)
    crops = torch.bmm(tall, columns.transpose(1, 2))
    return crops.view(count, 3, size, size).clamp_(0, 1)  # bicubic weights overshoot


def _weights(
    start: torch.Tensor, length: torch.Tensor, flip: torch.Tensor, side: int, size: int
) -> torch.Tensor:
    """What each of `side` pixels gives to each of `size`, (B, size, side); rows sum to one."""
    start, length = start[:, None, None], length[:, None, None]
    places = torch.arange(size, device=start.device, dtype=torch.float32)[:, None]
    places = torch.where(flip[:, None, None], size - 1 - places, places)
    pixels = torch.arange(side, device=start.device, dtype=torch.float32)
    step = length / size
    distance = (pixels + 0.5 - start - (places + 0.5) * step) / step.clamp(min=1)
    inside = (pixels >= start) & (pixels < start + length)
    weights = _cubic(distance) * inside
    return weights / weights.sum(2, keepdim=True)


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    """Keys' two cubics as one: in 2 - |x| where that is positive, and more within 1."""
    far = (2 - distance.abs()).clamp_(min=0)
    near = (far - 1).clamp_(min=0)
    return CUBIC * (1 - far) * far * far + (4 * CUBIC + 3 - 2 * near) * near * near
