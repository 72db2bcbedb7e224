"""ABMIL: gated attention pooling (Ilse, Tomczak and Welling, ICML 2018)."""

from torch import Tensor

from pathray.mil.aggregator import Aggregated, Aggregator, AggregatorSettings, aggregators, linear
from pathray.mil.gated import gated_attention
from pathray.mil.segments import Segments


@aggregators.register("abmil")
class GatedAttention(Aggregator):
    """A linear layer on the bag's tiles, averaged by attention. Attention has one column."""

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__(settings)
        self.hidden = linear(settings.dim, settings.hidden)
        self.gates = linear(settings.hidden, 2 * settings.attention)
        self.scores = linear(settings.attention, 1)
        self.classifier = linear(settings.hidden, settings.outputs)

    def aggregate(self, features: Tensor, segments: Segments) -> Aggregated:
        """See `Aggregator.forward`."""
        dropout = self.settings.dropout if self.training else 0.0
        hidden, scores = gated_attention(features, self.hidden, self.gates, self.scores, dropout)
        pooled, _ = segments.pool(segments.softmax(scores), hidden)
        return Aggregated(self.classifier(pooled.squeeze(1)).float(), scores, segments)
