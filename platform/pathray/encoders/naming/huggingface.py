"""ViT and DINOv2 as transformers names them (phikon, phikon_v2, hibou).

Both generations of names are read: `encoder.layer.N.attention.attention.query` of released
files and `layers.N.attention.q_proj` of transformers 5.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pathray.encoders.naming.plain import unwrap

if TYPE_CHECKING:
    import torch

_PATTERNS = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.mask_token$", "mask_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^(?:encoder\.layer|layers|layer)\.(\d+)\.", r"blocks.\1."),
)
_IN_BLOCK = (
    (r"\.attention\.(?:attention\.query|q_proj)\.", ".attn.q."),
    (r"\.attention\.(?:attention\.key|k_proj)\.", ".attn.k."),
    (r"\.attention\.(?:attention\.value|v_proj)\.", ".attn.v."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.(?:layernorm_before)\.", ".norm1."),
    (r"\.(?:layernorm_after)\.", ".norm2."),
    (r"\.(?:intermediate\.dense|mlp\.weights_in)\.", ".mlp.fc1."),
    (r"(?<=\d)\.(?:output\.dense|mlp\.(?:weights_out|down_proj))\.", ".mlp.fc2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
)

_JOINED = {
    ("attn.q", "attn.k", "attn.v"): "attn.qkv",
    ("mlp.gate_proj", "mlp.up_proj"): "mlp.fc1",
}


def translate(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """A transformers state dict by timm's names."""
    renamed = {_rename(n): t for n, t in unwrap(tensors, "embeddings.").items()}
    return _fold_class_position(_join(renamed))


def _rename(name: str) -> str:
    for pattern, replacement in _PATTERNS:
        name, matched = re.subn(pattern, replacement, name)
        if matched:
            break
    for pattern, replacement in _IN_BLOCK:
        name, matched = re.subn(pattern, replacement, name)
        if matched:
            break
    return name


def _join(tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """timm holds query, key and value in one matrix, and the two halves of a SwiGLU."""
    import torch

    result = dict(tensors)
    for name in tensors:
        for parts, whole in _JOINED.items():
            if match := re.match(rf"(blocks\.\d+\.){parts[0]}\.(weight|bias)$", name):
                pieces = [result.pop(f"{match[1]}{part}.{match[2]}", None) for part in parts]
                joined = torch.cat([piece for piece in pieces if piece is not None])
                result[f"{match[1]}{whole}.{match[2]}"] = joined
    return result


def _fold_class_position(tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """With registers, timm keeps positions of patches only; the class token's is added to it."""
    if "reg_token" in tensors:
        position = tensors["pos_embed"]
        tensors["cls_token"] = tensors["cls_token"] + position[:, :1]
        tensors["pos_embed"] = position[:, 1:].clone()
    return tensors
