"""A figure of the report: what it shows in words, as numbers and as pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pathray.report.style import Draw, rendered

DIGITS = 5
"""Decimals of a curve's numbers in JSON."""


@dataclass(frozen=True)
class Figure:
    """`data` holds the numbers drawn, JSON-able; `alt` says what a reader would see."""

    name: str
    title: str
    caption: str
    alt: str
    data: Mapping[str, Any]
    svg: bytes = field(repr=False)
    png: bytes = field(repr=False)
    wide: bool = False

    @classmethod
    def drawn(
        cls,
        name: str,
        title: str,
        caption: str,
        alt: str,
        data: Mapping[str, Any],
        size: tuple[float, float],
        draw: Draw,
    ) -> "Figure":
        """The figure of a size in inches; a wide one has a row of the page to itself."""
        svg, png = rendered(size, draw)
        return cls(name, title, caption, alt, data, svg, png, wide=size[0] > COLUMN)


COLUMN, PAGE = 4.8, 9.6
"""Inches: the width of one of two columns, and of the page."""


def numbers(values: Sequence[Any] | Any) -> list[float | None]:
    """An array (n,) for JSON: None where undefined."""
    return [
        None if value is None or np.isnan(value) else round(float(value), DIGITS)
        for value in values
    ]
