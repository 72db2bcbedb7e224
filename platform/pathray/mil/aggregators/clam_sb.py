"""CLAM-SB: one branch of attention for all classes."""

from torch import Tensor

from pathray.mil.aggregator import AggregatorSettings, aggregators
from pathray.mil.clam import Clam


@aggregators.register("clam_sb")
class ClamSB(Clam):
    """Attention has one column; one linear layer gives all logits."""

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__(settings, branches=1)

    def classify(self, pooled: Tensor) -> Tensor:
        """See `Clam.classify`."""
        logits: Tensor = self.classifier(pooled.squeeze(1))
        return logits
