"""The rules that make one vector of what a network says about a tile.

Each rule takes the network's output (`network.py`) and returns float (B, D). `tokens` is
(B, prefix + patches, D): class token first, registers after it, then the patches row by row.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pathray.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pathray.encoders.network import Output

PoolingRule = Callable[["Output"], "torch.Tensor"]
poolings: Registry[PoolingRule] = Registry("pooling rule")


@poolings.register("model")
def model_feature(output: "Output") -> "torch.Tensor":
    """The network's own pooled feature."""
    return output.pooled


@poolings.register("class")
def class_token(output: "Output") -> "torch.Tensor":
    """The class token after the network's final norm."""
    return output.tokens[:, 0]


@poolings.register("mean_patch")
def mean_patch(output: "Output") -> "torch.Tensor":
    """The mean of the patch tokens; class token and registers are left out."""
    return output.tokens[:, output.prefix :].mean(dim=1)


@poolings.register("class_mean_patch")
def class_and_mean_patch(output: "Output") -> "torch.Tensor":
    """Class token and mean patch token side by side, twice the tokens' width (Virchow)."""
    import torch

    return torch.cat((class_token(output), mean_patch(output)), dim=-1)


@poolings.register("mean_patch_layernorm")
def mean_patch_layernorm(output: "Output") -> "torch.Tensor":
    """The mean of the patch tokens, then a LayerNorm without learned scale (BEPH)."""
    from torch.nn import functional

    mean = mean_patch(output).float()
    return functional.layer_norm(mean, mean.shape[-1:], eps=1e-6)


@poolings.register("stage3_mean")
def stage3_mean(output: "Output") -> "torch.Tensor":
    """The spatial mean of a ResNet's third stage, as CLAM takes it."""
    return output.stage(3).mean(dim=(2, 3))


def trim(model: "nn.Module", pooling: str) -> "nn.Module":
    """Drop, in place, the layers behind what the pooling rule reads.

    They would never run, and would make weights and digest say what the encoder is not.
    """
    from torch import nn

    if pooling == "stage3_mean":
        trimmed: Any = model
        trimmed.prune_intermediate_layers([3], prune_norm=False, prune_head=True)
    elif pooling != "model" and hasattr(model, "fc_norm"):
        model.fc_norm = nn.Identity()
    return model
