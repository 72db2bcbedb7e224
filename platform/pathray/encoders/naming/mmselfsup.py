"""BEPH's release: a BEiT-v2 backbone in mmselfsup's names, below `backbone.`.

One relative position bias serves all layers there; timm's blocks hold a copy each.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pathray.encoders.naming.plain import unwrap
from pathray.encoders.naming.unilm import share_table_with_blocks

if TYPE_CHECKING:
    import torch

_PATTERNS = (
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^layers\.(\d+)\.ln(\d)\.", r"blocks.\1.norm\2."),
    (r"^layers\.(\d+)\.ffn\.layers\.0\.0\.", r"blocks.\1.mlp.fc1."),
    (r"^layers\.(\d+)\.ffn\.layers\.1\.", r"blocks.\1.mlp.fc2."),
    (r"^layers\.(\d+)\.", r"blocks.\1."),
)


def translate(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """BEPH's tensors by timm's names."""
    renamed = {}
    for name, tensor in unwrap(tensors, "patch_embed.").items():
        for pattern, replacement in _PATTERNS:
            name, matched = re.subn(pattern, replacement, name)
            if matched:
                break
        renamed[name] = tensor
    return share_table_with_blocks(renamed)
