"""BEiT v2 as its reference implementation (microsoft/unilm, beit2) saves it.

The names are timm's but for the relative position bias, which pretraining shares between
the layers and fine-tuning copies into each.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pathray.encoders.naming.plain import unwrap

if TYPE_CHECKING:
    import torch

_TABLE = "relative_position_bias_table"
_INDEX = "relative_position_index"


def translate(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """The reference's tensors by timm's names."""
    return share_table_with_blocks(unwrap(tensors, "patch_embed."))


def share_table_with_blocks(tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Give each block its copy of the shared table; drop the index, which timm computes."""
    result = {name: t for name, t in tensors.items() if not name.endswith(_INDEX)}
    table = result.pop(f"rel_pos_bias.{_TABLE}", None)
    if table is not None:
        depth = 1 + max(int(m[1]) for n in result if (m := re.match(r"blocks\.(\d+)\.", n)))
        for block in range(depth):
            result[f"blocks.{block}.attn.{_TABLE}"] = table.clone()
    return result
