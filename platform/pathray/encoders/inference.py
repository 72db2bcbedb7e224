"""A checkpoint's architecture, read off the shapes of its tensors (timm's names)."""

import re
from collections.abc import Mapping
from math import isqrt
from typing import TYPE_CHECKING, Any

from pathray.encoders.architecture import TimmModel
from pathray.errors import RequestError

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor]

# ViTs of every published size have heads of 64 channels.
_HEAD_CHANNELS = 64


def beit_architecture(tensors: "Tensors") -> TimmModel:
    """The BEiT that a checkpoint holds, of any size.

    Heads and image side come from the relative position bias, (2g - 1)^2 + 3 rows for a grid
    of g x g patches. Raises RequestError when there is none.
    """
    table = _need(tensors, "blocks.0.attn.relative_position_bias_table")
    grid = (isqrt(table.shape[0] - 3) + 1) // 2
    if (2 * grid - 1) ** 2 + 3 != table.shape[0]:
        raise RequestError(f"a relative position bias of {table.shape[0]} rows fits no square grid")
    common = _common(tensors)
    absolute = "pos_embed" in tensors
    kwargs: dict[str, Any] = {
        **common,
        "img_size": grid * common["patch_size"],
        "num_heads": int(table.shape[1]),
        "use_abs_pos_emb": absolute,
        "use_rel_pos_bias": True,
        # The final norm comes before the mean only where the checkpoint has one.
        "use_fc_norm": "norm.weight" not in tensors,
        # Zero is none: timm takes None for its own default.
        "init_values": 0.1 if "blocks.0.gamma_1" in tensors else 0.0,
    }
    return TimmModel("beitv2_base_patch16_224", kwargs)


def vit_architecture(tensors: "Tensors", num_heads: int | None, norm_eps: float) -> TimmModel:
    """The plain ViT, with layer scale, SwiGLU and registers where the checkpoint has them."""
    common = _common(tensors)
    registers = int(tensors["reg_token"].shape[1]) if "reg_token" in tensors else 0
    position = _need(tensors, "pos_embed")
    patches = position.shape[1] - (0 if registers else 1)
    if isqrt(patches) ** 2 != patches:
        raise RequestError(f"a position embedding of {patches} patches fits no square grid")
    kwargs: dict[str, Any] = {
        **common,
        "img_size": isqrt(patches) * common["patch_size"],
        "num_heads": num_heads or common["embed_dim"] // _HEAD_CHANNELS,
        "reg_tokens": registers,
        "no_embed_class": registers > 0,
        "init_values": 1e-5 if "blocks.0.ls1.gamma" in tensors else None,
        "norm_eps": norm_eps,
    }
    hidden_in = _need(tensors, "blocks.0.mlp.fc1.weight").shape[0]
    hidden_out = _need(tensors, "blocks.0.mlp.fc2.weight").shape[1]
    if hidden_in == 2 * hidden_out:
        kwargs |= {"mlp_layer": "SwiGLUPacked", "act_layer": "silu"}
    return TimmModel("vit_base_patch16_224", kwargs)


def _common(tensors: "Tensors") -> dict[str, Any]:
    width, _, patch, _ = _need(tensors, "patch_embed.proj.weight").shape
    hidden = _need(tensors, "blocks.0.mlp.fc1.weight").shape[0]
    blocks = {int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.", name))}
    return {
        "patch_size": int(patch),
        "embed_dim": int(width),
        "depth": len(blocks),
        "mlp_ratio": mlp_ratio(int(hidden), int(width)),
    }


def mlp_ratio(hidden: int, width: int) -> float:
    """The ratio that timm's int(width * ratio) turns back into `hidden`."""
    exact = hidden / width
    return exact if int(width * exact) == hidden else (hidden + 0.5) / width


def _need(tensors: "Tensors", name: str) -> "torch.Tensor":
    if name not in tensors:
        raise RequestError(
            f"the checkpoint has no {name} (in timm's names): is it of another --format?"
        )
    return tensors[name]
