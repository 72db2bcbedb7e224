"""How a fold's model is trained: every number of the recipe, and where it comes from."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pathray.evaluation.sealed import Level
from pathray.mil.aggregator import AggregatorSettings, InstanceLoss

Loss = Literal["ce", "cox", "nll"]

CLASS_RATE, SURVIVAL_RATE = 1e-4, 2e-4
"""Adam's rates for one bag a step: CLAM's, and BEPH's for survival."""
WEIGHT_DECAY, DROPOUT = 1e-5, 0.25
"""CLAM's, and BEPH's."""
EPOCHS, PATIENCE = 200, 20
"""CLAM's longest training, and its epochs without a lower validation loss."""
CLASS_BATCH, SURVIVAL_BATCH = 8, 32
"""Bags a step. A Cox loss compares the patients of a batch, so it needs many."""
PASS_TILES = 131_072
"""Tiles that go through a model at once: some 10 kB each in training, 1.3 GB in all."""


class Recipe(BaseModel):
    """One way to train. `rate` is Adam's learning rate at every step.

    `most_tiles` bounds the tiles of a bag in training (another random sample in each epoch);
    validation and test always see all. `balance` draws bags of all classes equally often.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aggregator: str
    loss: Loss
    level: Level
    rate: float = Field(gt=0)
    weight_decay: float = WEIGHT_DECAY
    dropout: float = DROPOUT
    epochs: int = EPOCHS
    patience: int = PATIENCE
    batch_bags: int
    most_tiles: int | None = None
    balance: bool = True
    inst_loss: InstanceLoss = "svm"
    subtyping: bool = False
    alpha: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"

    def aggregator_settings(self, dim: int, outputs: int) -> AggregatorSettings:
        """The model for embeddings of a width and an output layer of a size."""
        mine = self.model_dump(include={"aggregator", "dropout", "inst_loss", "subtyping"})
        return AggregatorSettings(dim=dim, outputs=outputs, **mine)

    def tiles_in_training(self) -> int | None:
        """Most tiles of a bag. The gradient of a Cox batch cannot be added up over passes, so
        its bags share one pass."""
        if self.most_tiles is None and self.loss == "cox":
            return max(1, PASS_TILES // self.batch_bags)
        return self.most_tiles
