"""What every aggregator is: a module from packed bags to logits and attention, by name."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from pathray.mil.segments import Segments
from pathray.registry import Registry

Criterion = Callable[[Tensor], Tensor]
"""From logits (B, outputs) to the scalar loss of their bags; it holds the targets."""

InstanceLoss = Literal["ce", "svm"]


class AggregatorSettings(BaseModel):
    """What an aggregator is built from.

    `outputs` are logits a bag: the classes, 1 for a Cox risk, the intervals of a discrete-time
    hazard. `hidden` and `attention` are widths, the defaults CLAM's (Lu et al., Nature
    Biomedical Engineering 2021). `inst_loss`, `subtyping` (classes exclude each other), `k`
    (tiles clustered at either end) and `bag_weight` (of the bag's loss; the rest is the
    instances') are read by CLAM alone. `dropout` goes in steps of 1/256.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aggregator: str
    dim: int = Field(gt=0)
    outputs: int = Field(gt=0)
    hidden: int = Field(512, gt=0)
    attention: int = Field(256, gt=0)
    dropout: float = Field(0.25, ge=0, lt=1)
    inst_loss: InstanceLoss = "svm"
    subtyping: bool = False
    k: int = Field(8, gt=0)
    bag_weight: float = Field(0.7, ge=0, le=1)


@dataclass(frozen=True)
class Aggregated:
    """What an aggregator says of a batch of B bags with T tiles in all.

    `logits` (B, outputs) and raw `attention` (T, columns), both float32. The columns are one,
    or one an output (clam_mb, dsmil). `extra` is for the aggregator's own loss.
    """

    logits: Tensor
    attention: Tensor
    segments: Segments
    extra: Any = None


class Aggregator(nn.Module):
    """Base of all aggregators: a subclass implements `aggregate`."""

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, features: Tensor, offsets: Tensor) -> Aggregated:
        """features (T, D), offsets (B + 1,) int64: bag i is rows offsets[i]..offsets[i + 1].

        Features in bfloat16 make matrix products run in it, float16 ones are widened.
        Raises ValueError for an empty bag or another width.
        """
        if features.ndim != 2 or features.shape[1] != self.settings.dim:
            raise ValueError(f"features are {tuple(features.shape)}, not (T, {self.settings.dim})")
        if features.dtype == torch.float16:
            features = features.float()
        segments = Segments(offsets.cpu(), features.device)
        if int(segments.offsets[-1]) != len(features):
            raise ValueError(f"offsets end at {int(segments.offsets[-1])}, not {len(features)}")
        low = features.dtype == torch.bfloat16
        with torch.autocast(features.device.type, torch.bfloat16, enabled=low):
            return self.aggregate(features, segments)

    @abstractmethod
    def aggregate(self, features: Tensor, segments: Segments) -> Aggregated:
        """As `forward`, checked."""

    def loss(self, found: Aggregated, criterion: Criterion, labels: Tensor | None = None) -> Tensor:
        """The loss to train by. `labels` (B,) int64 are the bags' classes, None for targets
        that are none (survival)."""
        del labels
        return criterion(found.logits)

    def normalised(self, found: Aggregated) -> Tensor:
        """Attention (T, columns) that is not negative and sums to 1 over each bag."""
        return found.segments.softmax(found.attention)


aggregators: Registry[type[Aggregator]] = Registry("aggregator")


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer as CLAM begins: Xavier normal weights, no bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
