"""Mean pooling: the baseline that looks at every tile alike."""

import torch
from torch import Tensor, nn

from pathray.mil.aggregator import Aggregated, Aggregator, AggregatorSettings, aggregators, linear
from pathray.mil.segments import Segments


@aggregators.register("mean")
class MeanPooling(Aggregator):
    """The mean of relu(W x) over the bag, then a linear layer. Raw attention is 0 everywhere."""

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__(settings)
        self.hidden = linear(settings.dim, settings.hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = linear(settings.hidden, settings.outputs)

    def aggregate(self, features: Tensor, segments: Segments) -> Aggregated:
        """See `Aggregator.forward`."""
        hidden = torch.relu(self.hidden(features))
        logits = self.classifier(self.dropout(segments.mean(hidden))).float()
        return Aggregated(logits, logits.new_zeros(len(features), 1), segments)
