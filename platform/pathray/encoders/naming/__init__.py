"""Checkpoints in other namings, translated to timm's: one file a naming.

A translator takes tensors by the names of the file and returns them by timm's names; what
it does not know passes through, so that the strict load names it.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pathray.encoders.naming import huggingface, mmselfsup, plain, unilm
from pathray.registry import Registry

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor]
    Translator = Callable[[Tensors], "dict[str, torch.Tensor]"]

namings: "Registry[Translator]" = Registry("checkpoint format")
namings.add("beph", mmselfsup.translate)
namings.add("unilm-beitv2", unilm.translate)
namings.add("hf", huggingface.translate)
namings.add("timm", plain.translate)


def detect(names: "set[str]") -> str:
    """The format that tensors of these names are in; `timm` when nothing speaks against it."""
    if any("ffn.layers.0.0." in name for name in names):
        return "beph"
    if any("embeddings.patch_embeddings" in name for name in names):
        return "hf"
    if any("rel_pos_bias.relative_position_bias_table" in name for name in names):
        return "unilm-beitv2"
    return "timm"


def to_timm(tensors: "Tensors") -> "dict[str, torch.Tensor]":
    """Tensors of any known naming by timm's names."""
    return namings.get(detect(set(tensors)))(tensors)
