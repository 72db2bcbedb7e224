"""Max pooling: the baseline that looks at the single strongest tile, feature by feature."""

import torch
from torch import Tensor, nn

from pathray.mil.aggregator import Aggregated, Aggregator, AggregatorSettings, aggregators, linear
from pathray.mil.segments import Segments, wide


@aggregators.register("max")
class MaxPooling(Aggregator):
    """The largest relu(W x) of the bag in each feature, then a linear layer.

    Raw attention is the number of features whose (positive) maximum a tile holds.
    """

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__(settings)
        self.hidden = linear(settings.dim, settings.hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = linear(settings.hidden, settings.outputs)

    def aggregate(self, features: Tensor, segments: Segments) -> Aggregated:
        """See `Aggregator.forward`."""
        hidden = torch.relu(self.hidden(features))
        largest = segments.max(hidden)
        with torch.no_grad():
            holds = (hidden == largest[segments.ids]) & (hidden > 0)
            counts = wide(holds.sum(1, keepdim=True))
        logits = self.classifier(self.dropout(largest)).float()
        return Aggregated(logits, counts, segments)

    def normalised(self, found: Aggregated) -> Tensor:
        """The counts as shares; uniform in a bag where no feature is positive."""
        totals = found.segments.sum(found.attention)[found.segments.ids]
        uniform = found.segments.softmax(torch.zeros_like(found.attention))
        return torch.where(totals > 0, found.attention / totals.clamp(min=1), uniform)
