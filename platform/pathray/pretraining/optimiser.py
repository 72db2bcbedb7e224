"""AdamW with the field's parameter groups, and the gradient's norm."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

UNDECAYED = ("cls_token", "mask_token", "pos_embed")
"""Last parts of the names of parameters of more than one axis that are not decayed."""


def decayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: not to biases, norms, gammas (one axis), nor to tokens."""
    return parameter.ndim > 1 and name.rsplit(".", 1)[-1] not in UNDECAYED


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trained parameters in two groups, with decay and without."""
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    return [
        {"params": [p for n, p in trained if decayed(n, p)], "weight_decay": weight_decay},
        {"params": [p for n, p in trained if not decayed(n, p)], "weight_decay": 0.0},
    ]


def build_optimiser(
    model: nn.Module, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over the trained parameters; its rate is set at every step (`set_rate`)."""
    device = next(model.parameters()).device
    groups = parameter_groups(model, weight_decay)
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=device.type == "cuda")


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step, for all groups."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float | None) -> torch.Tensor:
    """Scale gradients down to the norm `limit`; returns their norm before, float32 scalar.

    Parameters may be sharded: the norm is that of the whole gradient.
    """
    norm = nn.utils.clip_grad_norm_(list(_with_gradient(parameters)), limit or float("inf"))
    # A sharded norm is a DTensor, whose parts are summed only when it is asked for.
    whole: torch.Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return whole


def _with_gradient(parameters: Iterable[nn.Parameter]) -> Iterator[nn.Parameter]:
    return (parameter for parameter in parameters if parameter.grad is not None)
