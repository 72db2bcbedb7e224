"""From stored tiles to the views that are learned from."""

from dataclasses import dataclass

import torch

from pathray.pretraining.colour import jitter_colour, jitter_stain
from pathray.pretraining.cropping import random_boxes, random_flips, resized_crops

CACHED_TILES = 8
"""A CPU takes so many at a time: twice as fast as 64 whose pixels leave its cache."""


@dataclass(frozen=True)
class Augmentation:
    """Crop, flip and change of colour, made on the device of the tiles.

    Defaults are BEiT v2's second stage; its tokenizer was trained with `scale` 0.08..1.
    `vertical_flip` and `stain` (strength, see `jitter_stain`) are for tissue, which has no
    upright and was never stained twice alike. `size`: side of a view in pixels.
    """

    size: int = 224
    scale: tuple[float, float] = (0.2, 1.0)
    colour: float = 0.4
    stain: float = 0.0
    vertical_flip: bool = False

    def __call__(
        self, tiles: torch.Tensor, seed: int, step: int, index: torch.Tensor
    ) -> torch.Tensor:
        """Pixels (B, 3, size, size) float32 RGB in 0..1 of tiles (B, H, H, 3) uint8.

        `index` (B,) int64 are the tiles' places in batch `step`, on the tiles' device. A
        tile's view depends on (seed, step, its index) and not on the tiles beside it.
        """
        few = CACHED_TILES if tiles.device.type == "cpu" else max(1, len(tiles))
        # Autocast would leave the pixels eight bits of precision.
        with torch.no_grad(), torch.autocast(tiles.device.type, enabled=False):
            parts = zip(torch.split(tiles, few), torch.split(index, few), strict=True)
            return torch.cat([self._views(part, seed, step, of) for part, of in parts])

    def _views(
        self, tiles: torch.Tensor, seed: int, step: int, index: torch.Tensor
    ) -> torch.Tensor:
        boxes = random_boxes(seed, step, index, tiles.shape[1], self.scale)
        flips = random_flips(seed, step, index, self.vertical_flip)
        pixels = resized_crops(tiles, boxes, flips, self.size)
        pixels = jitter_stain(pixels, seed, step, index, self.stain)
        return jitter_colour(pixels, seed, step, index, self.colour)
