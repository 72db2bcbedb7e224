"""Tissue methods by name: a new one is a file that registers a function here."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pathray.registry import Registry
from pathray.slides.thumbnail import Thumbnail

TissueMethod = Callable[[Thumbnail], NDArray[np.bool_]]
"""From a thumbnail (h, w) to its tissue, bool (h, w)."""

tissue_methods: Registry[TissueMethod] = Registry("tissue method")
