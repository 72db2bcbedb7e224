"""timm's own names, perhaps below the prefix of a wrapper."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WRAPPERS = ("module.", "model.", "backbone.", "encoder.", "trunk.", "vit.", "dinov2.")


def translate(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """The tensors without the prefix that all of them, or all of the encoder's, share."""
    return unwrap(tensors, "patch_embed.")


def unwrap(tensors: "Mapping[str, torch.Tensor]", landmark: str) -> "dict[str, torch.Tensor]":
    """Strip wrapper prefixes until a name starts with `landmark`.

    Names outside the wrapper (a head, a teacher's copy) keep theirs.
    """
    result = dict(tensors)
    while not any(name.startswith(landmark) for name in result):
        prefix = next(
            (w for w in WRAPPERS if any(n.startswith(w) and landmark in n for n in result)), None
        )
        if prefix is None:
            break
        result = {name.removeprefix(prefix): tensor for name, tensor in result.items()}
    return result
