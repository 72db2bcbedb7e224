"""One slide's bag, opened: what it says of itself, and its rows in chunks."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CHUNK = 4096
"""Rows read at a time, so that no slide is held whole."""


@dataclass(frozen=True)
class Made:
    """How embeddings were made; None where their file does not say.

    `encoder_digest` as of `pathray.encoders`, `mpp` as it was asked for ("native" is level 0),
    `tile_size` in pixels, `encoder` the encoder's name.
    """

    dim: int
    encoder_digest: str | None = None
    mpp: float | str | None = None
    tile_size: int | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class Rows:
    """Embeddings (n, D), any floating type; coordinates (n, 2) x, y in level-0 pixels or None."""

    vectors: NDArray[np.floating]
    coordinates: NDArray[np.integer] | None


@dataclass(frozen=True)
class OpenBag:
    """A bag of `rows` tiles. `made` is None where an empty file does not even say a width."""

    rows: int
    made: Made | None
    has_coordinates: bool
    chunks: Iterator[Rows] = field(compare=False)
