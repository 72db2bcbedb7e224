"""From a worker's tiles to the views that an objective is given, on the device."""

from contextlib import AbstractContextManager

import torch

from pathray.pretraining.batches import Batches, TileBatch
from pathray.pretraining.masking import block_masks
from pathray.pretraining.objective import Views
from pathray.pretraining.plan import Plan
from pathray.pretraining.run import Training


class ViewMaker:
    """Augments and masks tiles; `grid` are the patches along a side."""

    def __init__(self, training: Training, grid: int, device: torch.device) -> None:
        self._training, self._grid, self._device = training, grid, device
        self._augment = training.augmentation

    def __call__(self, batch: TileBatch) -> Views:
        """The views of a micro-batch: a function of seed, step and the tiles' places in it."""
        seed = self._training.seed
        index = batch.index.to(self._device)
        tiles = batch.tiles.to(self._device, non_blocking=True)
        pixels = self._augment(tiles, seed, batch.step, index)
        if not self._training.masks:
            return Views(pixels)
        return Views(pixels, block_masks(seed, batch.step, index, self._grid))

    def first(self, plan: Plan, rank: int, world: int) -> Views:
        """The views of all this worker's tiles of batch 0."""
        with Batches(plan, rank=rank, world=world, stop=1) as batches:
            return self(next(batches))

    def autocast(self) -> AbstractContextManager[None]:
        """The precision that networks run in."""
        low = self._training.precision == "bf16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=low)
