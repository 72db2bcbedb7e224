"""An encoder that has a thread to itself."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathray.encoders.spec import Encoder

if TYPE_CHECKING:
    import torch


class EncoderThread:
    """Loads an encoder on one thread and runs all its passes there, one after another.

    Ray makes an actor on one thread and calls it on others, and libgomp keeps a team of workers
    for every thread that has computed. When the teams together have more workers than there are
    cores, the workers sleep instead of spinning between the steps of a pass, and the pass of a
    ViT-S on one tile takes twice as long. `threads` are those of a CPU's team, 0: torch's own
    number.
    """

    def __init__(self, load: Callable[[], Encoder], threads: int = 0) -> None:
        self._thread = ThreadPoolExecutor(1)
        self.encoder = self._thread.submit(_load, load, threads).result()

    def __call__(self, tiles: "NDArray[np.uint8] | torch.Tensor") -> NDArray[np.float32]:
        """As `Encoder.__call__`."""
        return self.submit(tiles).result()

    def submit(self, tiles: "NDArray[np.uint8] | torch.Tensor") -> "Future[NDArray[np.float32]]":
        """The same, not waited for."""
        return self._thread.submit(self.encoder, tiles)


def _load(load: Callable[[], Encoder], threads: int) -> Encoder:
    if threads:
        import torch

        torch.set_num_threads(threads)
    return load()
