"""The files a bag may lie in: our Parquet objects, and `.h5` and `.pt` of CLAM and TRIDENT."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from pathray.mil.formats.bag import OpenBag
from pathray.mil.formats.h5 import open_h5
from pathray.mil.formats.parquet import open_parquet
from pathray.mil.formats.pt import open_pt

OPENERS: dict[str, Callable[[str], AbstractContextManager[OpenBag]]] = {
    ".parquet": open_parquet,
    ".h5": open_h5,
    ".pt": open_pt,
}
"""By suffix: a URI to its bag, open while the block runs. Any exception says it is damaged."""
