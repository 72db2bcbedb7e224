"""What is decayed, and how gradients are clipped."""

import pytest
import torch
from torch import nn

from pathray.pretraining.optimiser import (
    build_optimiser,
    clip_gradients,
    parameter_groups,
    set_rate,
)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.gamma_1 = nn.Parameter(torch.ones(4))
        self.q_bias = nn.Parameter(torch.zeros(4))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
        self.norm = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def names(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    return {n for n, p in model.named_parameters() if any(p is q for q in parameters)}


def test_biases_norms_gammas_and_tokens_are_not_decayed_and_frozen_ones_not_trained():
    model = Small()
    with_decay, without = parameter_groups(model, 0.05)
    assert with_decay["weight_decay"] == 0.05
    assert without["weight_decay"] == 0.0
    assert names(model, with_decay["params"]) == {"linear.weight", "relative_position_bias_table"}
    assert names(model, without["params"]) == {
        *("cls_token", "gamma_1", "q_bias", "norm.weight", "norm.bias", "linear.bias")
    }


def test_the_rate_is_set_for_all_groups():
    optimiser = build_optimiser(Small(), (0.9, 0.98), 0.05)
    set_rate(optimiser, 0.125)
    assert [group["lr"] for group in optimiser.param_groups] == [0.125, 0.125]
    assert {group["betas"] for group in optimiser.param_groups} == {(0.9, 0.98)}


@pytest.mark.parametrize(("limit", "after"), [(1.0, 1.0), (10.0, 5.0), (None, 5.0)])
def test_gradients_are_clipped_and_their_norm_before_is_told(limit: float | None, after: float):
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert float(clip_gradients([parameter, nn.Parameter(torch.zeros(1))], limit)) == 5.0
    assert float(parameter.grad.norm()) == pytest.approx(after, rel=1e-5)
