"""The vision transformers of BEiT v2, of timm's parts and with the reference's names."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from timm.models.beit import Beit
from torch import nn

INIT_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A vision transformer over a square `grid` of patches of side `patch`."""

    width: int
    depth: int
    heads: int
    grid: int
    patch: int
    channels: int = 3
    mlp_ratio: float = 4.0

    @property
    def input_size(self) -> int:
        """Side of the input in pixels."""
        return self.grid * self.patch


def build_vit(shape: Shape, **kwargs: Any) -> Any:
    """timm's BEiT without a head, LayerNorm of epsilon 1e-6; `kwargs` are timm's."""
    return Beit(
        img_size=shape.input_size,
        patch_size=shape.patch,
        in_chans=shape.channels,
        num_classes=0,
        embed_dim=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
        mlp_ratio=shape.mlp_ratio,
        **kwargs,
    )


def plain_vit(shape: Shape, drop_path: float = 0.0) -> Any:
    """The tokenizer's transformer: absolute positions, no layer scale, a norm behind it."""
    return build_vit(shape, use_abs_pos_emb=True, use_fc_norm=True, drop_path_rate=drop_path)


def patch_tokens(vit: Any, images: torch.Tensor) -> torch.Tensor:
    """Patch tokens (B, P, width) of a `plain_vit` behind its norm."""
    tokens: torch.Tensor = vit.fc_norm(vit.forward_features(images)[:, 1:])
    return tokens


def initialise(module: nn.Module) -> None:
    """Linear and convolution weights from a normal truncated at one deviation, biases zero."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        truncated_normal(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def truncated_normal(tensor: torch.Tensor) -> None:
    """Fill, in place, from a normal truncated at one standard deviation, as the reference does.

    By the inverse of the distribution: torch's rejection would take a minute for a ViT-B.
    """
    share = math.erf(1 / math.sqrt(2))
    tensor.uniform_(-share, share).erfinv_().mul_(math.sqrt(2) * INIT_STD)
    tensor.clamp_(-INIT_STD, INIT_STD)


@torch.no_grad()
def rescale_residuals(blocks: Iterable[Any], first_layer: int) -> None:
    """Divide what each block adds by sqrt(2 * layer), layers counted from `first_layer`."""
    for layer, block in enumerate(blocks, first_layer):
        block.attn.proj.weight.div_(math.sqrt(2.0 * layer))
        block.mlp.fc2.weight.div_(math.sqrt(2.0 * layer))
