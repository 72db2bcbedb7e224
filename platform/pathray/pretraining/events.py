"""What a training process tells the one that started it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Started:
    """Training goes on after `step` steps that were done before."""

    step: int


@dataclass(frozen=True)
class Row:
    """Figures of the steps since the last row, up to `step` (counted from 1)."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Picture:
    """A PNG."""

    name: str
    png: bytes


@dataclass(frozen=True)
class Note:
    """A sentence for the person who looks on."""

    text: str


@dataclass(frozen=True)
class Stopped:
    """Training ended for a reason that another try would meet again."""

    reason: str


@dataclass(frozen=True)
class Finished:
    """All steps are done and the encoder is written."""


Event = Started | Row | Picture | Note | Stopped | Finished
Tell = Callable[[Event], None]
