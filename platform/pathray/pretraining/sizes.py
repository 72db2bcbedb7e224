"""The sizes that encoders are pretrained in, with the numbers that belong to each."""

from dataclasses import dataclass

from pathray.registry import Registry

PATCH = 16
"""Side of a patch in pixels, of every size."""

HEAD_LAYERS = 2
"""Blocks behind the patch aggregation (BEiT v2, arXiv 2208.06366, section 2.3)."""


@dataclass(frozen=True)
class Size:
    """A vision transformer. The class token meets the patch tokens of layer `early_layer`
    (counted from 1) in the patch aggregation; `layer_scale` is where its gammas start.
    """

    width: int
    depth: int
    heads: int
    early_layer: int
    layer_scale: float


sizes: Registry[Size] = Registry("size")
# BEiT v2's base and large, as its reference implementation trains them.
sizes.add("base", Size(768, 12, 12, early_layer=9, layer_scale=0.1))
sizes.add("large", Size(1024, 24, 16, early_layer=21, layer_scale=1e-5))
# ViT-S with base's other numbers, and one that a CPU trains in minutes.
sizes.add("small", Size(384, 12, 6, early_layer=9, layer_scale=0.1))
sizes.add("tiny", Size(192, 4, 3, early_layer=3, layer_scale=0.1))
