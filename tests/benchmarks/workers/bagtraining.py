"""What both ways of training share: the split, the protocol, and the report.

`train(run)` of a worker called as `worker FOLDER PRECISION EPOCHS SEED`.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pathray.mil.bags import Bags
from tests.benchmarks.cohorts import drawn
from tests.benchmarks.workers.timing import peak_memory, tell

RATE, DECAY, DROPOUT, K, BAG_WEIGHT = 1e-4, 1e-5, 0.25, 8, 0.7
"""CLAM's."""
WARM_UP = 8


class Way:
    """A way of training: its model, one epoch over bags, and the logits of a bag."""

    model: nn.Module

    def epoch(self, order: Sequence[int]) -> None:
        raise NotImplementedError

    def logits(self, bag: int) -> torch.Tensor:
        """(1, 2), float32."""
        raise NotImplementedError


def train(build: Callable[[Bags, torch.dtype], Way]) -> None:
    """Train on four fifths of the bags, measure the epochs and the loss on the rest."""
    folder, precision, epochs, seed = sys.argv[1:]
    bags = drawn(Path(folder))
    torch.manual_seed(int(seed))
    rng = np.random.default_rng(int(seed))
    way = build(bags, {"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    held = np.arange(len(bags)) % 10 >= 8
    training = np.flatnonzero(~held)
    way.epoch(sorted(training, key=lambda bag: bags.sizes[bag])[:WARM_UP])
    started = time.perf_counter()
    for _ in range(int(epochs)):
        way.epoch(rng.permutation(training).tolist())
    seconds = (time.perf_counter() - started) / int(epochs)
    peak = peak_memory()
    way.model.eval()
    with torch.inference_mode():
        losses = [
            float(cross_entropy(way.logits(bag), torch.tensor([bag % 2])))
            for bag in np.flatnonzero(held).tolist()
        ]
    tell(
        seconds=seconds,
        tiles=int(bags.sizes[training].sum()),
        loss=float(np.mean(losses)),
        peak=peak,
    )
