"""Follow-up: how long each patient was seen, and whether the event was."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FollowUp:
    """Right-censored times of n patients.

    time (n,) float64, finite and above 0, in the unit of the clinical table;
    event (n,) bool, True where the event was seen and False where the patient is censored.
    Raises ValueError when the two do not fit together or a time is not positive.
    """

    time: NDArray[np.float64]
    event: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.time.ndim != 1 or self.time.shape != self.event.shape:
            raise ValueError(f"time {self.time.shape} and event {self.event.shape} do not match")
        if not (np.isfinite(self.time) & (self.time > 0)).all():
            raise ValueError("follow-up times must be finite and positive")

    @classmethod
    def of(cls, time: Any, event: Any) -> "FollowUp":
        """From anything array-like; events may be 0 and 1."""
        return cls(np.asarray(time, np.float64), np.asarray(event).astype(bool))

    def take(self, rows: NDArray[Any]) -> "FollowUp":
        """The follow-up of some rows, by index or mask."""
        return FollowUp(self.time[rows], self.event[rows])

    def __len__(self) -> int:
        return len(self.time)
