"""The tile encoders of the field, one file a family; importing it fills the registry.

Counts, normalisations and embedding rules are the authors' model cards' and papers'. What is
not known is None.
"""

from pathray.encoders.catalogue import (
    beph,
    bioptimus,
    foreign,
    gigapath,
    gpfm,
    histai,
    kaiko,
    lunit,
    mahmood,
    mean_rgb,
    natural,
    owkin,
    paige,
    stainnet,
)

__all__ = [
    "beph",
    "bioptimus",
    "foreign",
    "gigapath",
    "gpfm",
    "histai",
    "kaiko",
    "lunit",
    "mahmood",
    "mean_rgb",
    "natural",
    "owkin",
    "paige",
    "stainnet",
]
