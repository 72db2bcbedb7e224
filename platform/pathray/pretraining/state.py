"""What a run must keep of its model and optimiser, whole, by name, whatever the parallelism."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)

from pathray.pretraining.checkpoints import Checkpoint

Tensors = dict[str, Tensor]
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def gather(model: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[Tensors, Tensors]:
    """Model and optimiser tensors on the CPU of rank 0; empty elsewhere. All ranks must call.

    The optimiser's are named `<parameter>/<what>`.
    """
    weights, held = get_state_dict(model, optimiser, options=_WHOLE)
    states = cast(dict[str, Tensors], held.get("state", {}))
    moments = {f"{name}/{what}": t for name, state in states.items() for what, t in state.items()}
    return cast(Tensors, dict(weights)), moments


def restore(model: nn.Module, optimiser: torch.optim.Optimizer, kept: Checkpoint) -> None:
    """The inverse of `gather`, with the whole checkpoint given on every rank."""
    states: dict[str, Tensors] = {}
    for name, tensor in kept.optimiser.items():
        parameter, _, what = name.rpartition("/")
        states.setdefault(parameter, {})[what] = tensor
    groups = [{**group, "params": names} for group, names in _named_groups(model, optimiser)]
    optimiser_state: Any = {"state": states, "param_groups": groups}
    set_state_dict(
        model,
        optimiser,
        # Both are changed in place by torch.
        model_state_dict=dict(kept.model),
        optim_state_dict=optimiser_state,
        options=_WHOLE,
    )


def _named_groups(
    model: nn.Module, optimiser: torch.optim.Optimizer
) -> list[tuple[dict[str, Any], list[str]]]:
    names = {
        parameter: name.removeprefix("module.") for name, parameter in model.named_parameters()
    }
    return [(group, [names[p] for p in group["params"]]) for group in optimiser.param_groups]
