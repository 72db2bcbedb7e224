"""The learning rate of every step: linear warm-up, then half a cosine."""

import math
from dataclasses import dataclass

WARMUP_START = 1e-4
"""Share of the peak at step 0 (BEPH, BEiT v2)."""


@dataclass(frozen=True)
class Schedule:
    """A pure function of the step, so that a resumed run needs no state of it.

    The rate is `peak` at step `warmup` and nears `final`, if that is lower, at step `steps`.
    """

    peak: float
    final: float
    steps: int
    warmup: int

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup:
            start = self.peak * WARMUP_START
            return start + (self.peak - start) * step / self.warmup
        final = min(self.final, self.peak)
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return final + (self.peak - final) * (1 + math.cos(math.pi * done)) / 2
