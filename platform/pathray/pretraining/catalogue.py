"""Every pretraining objective; importing it fills the registry."""

from pathray.pretraining import beitv2, vqkd
from pathray.pretraining.objective import Objective, Settings, objectives

__all__ = ["Objective", "Settings", "beitv2", "build", "objectives", "vqkd"]


def build(name: str, settings: Settings) -> Objective:
    """The objective of that name, on the CPU in float32, weights drawn from the seed.

    Raises RequestError for an unknown name, or settings that lack what it needs.
    """
    return objectives.get(name)(settings)
