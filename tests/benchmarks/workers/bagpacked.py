"""Packed batches: `bagpacked FOLDER PRECISION EPOCHS SEED`.

A step has the bags of `BAGS_A_STEP` steps of the loop; Adam's rate grows with its root.
"""

from collections.abc import Sequence
from functools import partial
from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pathray.mil.aggregator import AggregatorSettings
from pathray.mil.aggregators import build_aggregator
from pathray.mil.bags import Bags
from pathray.mil.batches import Packer
from tests.benchmarks.workers import bagtraining
from tests.benchmarks.workers.bagtraining import BAG_WEIGHT, DECAY, DROPOUT, RATE, K, Way

BAGS_A_STEP = 8


class PackedBags(Way):
    """The library's clam_sb on batches of the library's packer."""

    def __init__(self, bags: Bags, dtype: torch.dtype) -> None:
        self.packer = Packer(bags, dtype)
        settings = AggregatorSettings(
            aggregator="clam_sb",
            dim=bags.store.made.dim,
            outputs=2,
            dropout=DROPOUT,
            inst_loss="ce",
            k=K,
            bag_weight=BAG_WEIGHT,
        )
        self.model = self.clam = build_aggregator(settings, torch.initial_seed())
        rate = RATE * sqrt(BAGS_A_STEP)
        self.optimiser = torch.optim.Adam(self.model.parameters(), rate, weight_decay=DECAY)

    def epoch(self, order: Sequence[int]) -> None:
        self.clam.train()
        steps = [order[i : i + BAGS_A_STEP] for i in range(0, len(order), BAGS_A_STEP)]
        for batch in self.packer.batches(steps):
            labels = torch.tensor(batch.bags) % 2
            found = self.clam(batch.features, batch.offsets)
            loss = self.clam.loss(found, partial(cross_entropy, target=labels), labels)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()

    def logits(self, bag: int) -> Tensor:
        batch = self.packer.pack([bag])
        found: Tensor = self.clam(batch.features, batch.offsets).logits
        return found


if __name__ == "__main__":
    bagtraining.train(PackedBags)
