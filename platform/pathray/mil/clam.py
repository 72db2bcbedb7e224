"""CLAM (Lu et al., Nature Biomedical Engineering 2021): gated attention with clustered tiles.

Beside the bag's own loss, one classifier a class learns to tell the most attended tiles of a
bag of its class (target 1) from the least attended (0); where classes exclude each other
(`subtyping`) the most attended tiles are negatives for the other classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from pathray.mil.aggregator import (
    Aggregated,
    Aggregator,
    AggregatorSettings,
    Criterion,
    InstanceLoss,
    linear,
)
from pathray.mil.gated import gated_attention
from pathray.mil.segments import Segments, wide


@dataclass(frozen=True)
class Instances:
    """Tiles picked from the ends of every branch of attention.

    `hidden` (M, H) float32; `bag`, `branch` (M,) int64; `top` (M,) bool: most attended, not least.
    """

    hidden: Tensor
    bag: Tensor
    branch: Tensor
    top: Tensor


class Clam(Aggregator):
    """What both variants share; they differ in branches of attention and in the classifier."""

    def __init__(self, settings: AggregatorSettings, branches: int) -> None:
        super().__init__(settings)
        self.hidden = linear(settings.dim, settings.hidden)
        self.gates = linear(settings.hidden, 2 * settings.attention)
        self.scores = linear(settings.attention, branches)
        self.classifier = linear(settings.hidden, settings.outputs)
        self.instance_classifiers = linear(settings.hidden, 2 * settings.outputs)

    def classify(self, pooled: Tensor) -> Tensor:
        """Pooled bags (B, branches, H) -> logits (B, outputs)."""
        raise NotImplementedError

    def aggregate(self, features: Tensor, segments: Segments) -> Aggregated:
        """See `Aggregator.forward`."""
        dropout = self.settings.dropout if self.training else 0.0
        hidden, scores = gated_attention(features, self.hidden, self.gates, self.scores, dropout)
        rows, branch, top = _ends(scores, segments, self.settings.k)
        pooled, picked = segments.pool(segments.softmax(scores), hidden, rows)
        instances = Instances(wide(picked), segments.ids[rows], branch, top)
        return Aggregated(self.classify(pooled).float(), scores, segments, instances)

    def loss(self, found: Aggregated, criterion: Criterion, labels: Tensor | None = None) -> Tensor:
        """bag_weight of the bags' loss and the rest of the instances'; without `labels`, the
        bags' alone."""
        if labels is None:
            return criterion(found.logits)
        weight = self.settings.bag_weight
        return weight * criterion(found.logits) + (1 - weight) * self.instance_loss(found, labels)

    def instance_loss(self, found: Aggregated, labels: Tensor) -> Tensor:
        """The mean over bags of the clustering loss for labels (B,) int64.

        A class's loss is the mean over its tiles; with `subtyping` the sum over all classes
        is divided by their number, else only the bag's own class counts.
        """
        picked, classes = found.extra, self.settings.outputs
        logits = self.instance_classifiers(picked.hidden).view(-1, classes, 2)
        own = one_hot(labels, classes).bool()[picked.bag]
        positive = own & picked.top[:, None]
        losses = instance_losses(logits, positive.long(), self.settings.inst_loss)
        sizes = found.segments.sizes.clamp(max=self.settings.k).to(losses)[picked.bag, None]
        weights = own / (2 * sizes)
        if self.settings.subtyping:
            weights = (weights + (~own & picked.top[:, None]) / sizes) / classes
        if self.scores.out_features > 1:
            weights = weights * one_hot(picked.branch, classes)
        return (losses * weights).sum() / len(found.segments)


def _ends(scores: Tensor, segments: Segments, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, branch and whether most attended, of the picked tiles of all branches."""
    rows, branches, tops = [], [], []
    for branch in range(scores.shape[1]):
        highest, lowest = segments.extremes(scores[:, branch], k)
        rows += [highest, lowest]
        tops += [torch.ones_like(highest), torch.zeros_like(lowest)]
        branches.append(highest.new_full((2 * len(highest),), branch))
    return torch.cat(rows), torch.cat(branches), torch.cat(tops).bool()


def instance_losses(logits: Tensor, targets: Tensor, kind: InstanceLoss) -> Tensor:
    """The loss of each instance: logits (M, classes, 2), targets (M, classes) -> (M, classes).

    `svm` is the smooth top-1 SVM of Berrada, Zisserman and Kumar (ICLR 2018) with margin and
    temperature 1, as CLAM uses it: log sum_j exp(s_j + [j != y]) - s_y.
    """
    if kind == "svm":
        logits = logits + 1 - one_hot(targets, 2)
        true = logits.gather(2, targets[..., None]).squeeze(2)
        return logits.logsumexp(2) - true
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(
        targets.shape
    )
