"""Class labels of rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Labels:
    """values (n,) int64, each an index into `classes`."""

    values: NDArray[np.int64]
    classes: tuple[str, ...]

    def take(self, rows: NDArray[Any]) -> "Labels":
        """The labels of some rows, by index or mask."""
        return Labels(self.values[rows], self.classes)

    def __len__(self) -> int:
        return len(self.values)
