"""CLAM-MB: a branch of attention and a classifier for every class."""

from torch import Tensor

from pathray.mil.aggregator import AggregatorSettings, aggregators
from pathray.mil.clam import Clam


@aggregators.register("clam_mb")
class ClamMB(Clam):
    """Attention has a column an output; row i of the classifier sees branch i alone."""

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__(settings, branches=settings.outputs)

    def classify(self, pooled: Tensor) -> Tensor:
        """See `Clam.classify`."""
        return (pooled * self.classifier.weight).sum(2) + self.classifier.bias
