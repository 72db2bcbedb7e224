"""The figures of the steps since the last row of the curve."""

import math
import time

import torch
from torch import Tensor

from pathray.errors import PathrayError
from pathray.pretraining.parallel import World


class Window:
    """Gathers figures on the device, and asks for them only when a row ends."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._clear()

    def _clear(self) -> None:
        self._begun = time.perf_counter()
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._others: dict[str, Tensor] = {}
        self._waited = 0.0

    def add(self, figures: dict[str, Tensor], norm: Tensor, waited: float) -> None:
        """A step: its mean figures on this process, gradient norm, seconds of waiting."""
        self._losses.append(figures["loss"])
        self._norms.append(norm)
        for name, value in figures.items():
            self._others[name] = self._others.get(name, torch.zeros_like(value)) + value
        self._waited += waited

    def close(self, step: int, batch: int) -> dict[str, float]:
        """Means over the steps since the last call and over all processes.

        NotFiniteError, on every process, when a loss or a gradient was not finite. `step` is
        the number of steps done, `batch` the effective batch.
        """
        n = len(self._losses)
        names = sorted(self._others)
        seconds = time.perf_counter() - self._begun
        others = [self._others[name] / n for name in names]
        machine = [self._waited / seconds, _memory_gb(self._world.device)]
        means = self._world.mean([*self._losses, *self._norms, *others, *machine])
        for offset, value in enumerate(means[: 2 * n]):
            if not math.isfinite(value):
                what = "loss" if offset < n else "gradient"
                raise NotFiniteError(
                    f"the {what} of step {step - n + 1 + offset % n} is not finite"
                )
        values = dict(zip(names, means[2 * n :], strict=False))
        values |= {
            "gradient_norm": sum(means[n : 2 * n]) / n,
            "data_wait": means[-2],
            "memory_gb": means[-1],
            "tiles_per_second": n * batch / seconds,
        }
        self._clear()
        return values

    def restart_clock(self) -> None:
        """Leave what was done since the last row out of the next one's rate."""
        self._begun = time.perf_counter()


class NotFiniteError(PathrayError):
    """A loss or gradient that is infinite or no number."""


def _memory_gb(device: torch.device) -> float:
    """The most memory used so far: of the GPU by tensors, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
