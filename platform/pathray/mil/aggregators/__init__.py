"""Aggregators by name: importing this package registers those that come with Pathray."""

import torch

from pathray.mil.aggregator import Aggregator, AggregatorSettings, aggregators
from pathray.mil.aggregators import abmil, clam_mb, clam_sb, dsmil, max, mean, transmil

__all__ = [
    "abmil",
    "aggregators",
    "build_aggregator",
    "clam_mb",
    "clam_sb",
    "dsmil",
    "max",
    "mean",
    "transmil",
]


def build_aggregator(settings: AggregatorSettings, seed: int = 0) -> Aggregator:
    """A new aggregator with weights drawn from the seed. RequestError for an unknown name."""
    build = aggregators.get(settings.aggregator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(settings)
