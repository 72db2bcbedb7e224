"""DSMIL: a dual stream of the critical tile and attention around it (Li, Li and Eliceiri,
CVPR 2021)."""

import torch
from torch import Tensor, nn

from pathray.mil.aggregator import (
    Aggregated,
    Aggregator,
    AggregatorSettings,
    Criterion,
    aggregators,
    linear,
)
from pathray.mil.segments import Segments

QUERY = 128
"""Length of a query, as in the paper's code."""


@aggregators.register("dsmil")
class DualStream(Aggregator):
    """One stream scores tiles and takes each output's largest: its critical tile. The other
    averages tiles by how near their query is to the critical tile's. Attention has a column
    an output. Half of the loss is of the largest scores, half of the second stream's logits.
    """

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__(settings)
        self.instance = linear(settings.dim, settings.outputs)
        self.query = linear(settings.dim, QUERY)
        self.value = nn.Sequential(
            nn.Dropout(settings.dropout), linear(settings.dim, settings.hidden)
        )
        self.classifier = linear(settings.outputs * settings.hidden, settings.outputs)

    def aggregate(self, features: Tensor, segments: Segments) -> Aggregated:
        """See `Aggregator.forward`."""
        instances = self.instance(features)
        highest = torch.stack(
            [segments.extremes(instances[:, i], 1)[0] for i in range(self.settings.outputs)], 1
        )
        columns = torch.arange(self.settings.outputs, device=highest.device)
        largest = instances[highest, columns].float()
        queries = self.query(features).float()
        critical = queries[highest][segments.ids]  # (T, outputs, QUERY)
        scores = (critical * queries[:, None]).sum(2) / QUERY**0.5
        pooled, _ = segments.pool(segments.softmax(scores), self.value(features))
        logits = self.classifier(pooled.flatten(1)).float()
        return Aggregated(logits, scores, segments, largest)

    def loss(self, found: Aggregated, criterion: Criterion, labels: Tensor | None = None) -> Tensor:
        """The mean of both streams' losses."""
        del labels
        return 0.5 * criterion(found.logits) + 0.5 * criterion(found.extra)
