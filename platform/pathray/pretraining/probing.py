"""Probing the encoder while it is trained, on all processes."""

import numpy as np
import torch
from torch.nn import functional

from pathray.evaluation.labelled import LabelledTiles
from pathray.evaluation.probe import probe
from pathray.pretraining.objective import Objective
from pathray.pretraining.parallel import World
from pathray.pretraining.ranks import gather_rows
from pathray.slides.reader import Pixels

BATCH = 32


class Prober:
    """Labelled tiles that the encoder never learns from, and what its features make of them."""

    def __init__(self, labelled: LabelledTiles, seed: int) -> None:
        self._labelled, self._seed = labelled, seed
        self._tiles: Pixels = labelled.read()

    def __call__(self, objective: Objective, world: World) -> dict[str, float]:
        """Balanced accuracies and their 95% intervals; empty but on rank 0. All ranks call it."""
        objective.eval()
        features = self._features(objective, world)
        objective.train()
        if world.rank:
            return {}
        scores = probe(features, self._labelled.labels, self._labelled.groups, self._seed)
        return {
            f"probe_{name}{part}": float(value)
            for name, score in scores.items()
            for part, value in (("", score.value), ("_low", score.low), ("_high", score.high))
            if value is not None
        }

    def _features(self, objective: Objective, world: World) -> np.ndarray:
        n = len(self._tiles)
        # Every rank runs as many batches, which sharded parameters ask for.
        mine = np.arange(-(-n // world.size)) * world.size + world.rank
        parts = [
            objective.features(self._pixels(index % n, objective.input_size, world.device))
            for index in np.split(mine, range(BATCH, len(mine), BATCH))
        ]
        rows = gather_rows(torch.cat(parts)).view(world.size, len(mine), -1)
        return rows.transpose(0, 1).flatten(0, 1)[:n].float().cpu().numpy()

    def _pixels(self, index: np.ndarray, side: int, device: torch.device) -> torch.Tensor:
        tiles = torch.from_numpy(self._tiles[index]).to(device)
        pixels = tiles.permute(0, 3, 1, 2).float() / 255
        if pixels.shape[-1] == side:
            return pixels
        return functional.interpolate(pixels, (side, side), mode="bicubic", antialias=True).clamp(
            0, 1
        )
