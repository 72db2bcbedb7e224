"""Objective `beitv2`: masked image modelling with patch aggregation."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_files import below, golden
from small_objectives import HIDDEN, MEAN, SIDE, STD, beitv2, teacher, views, vqkd

from pathray.encoders import load_encoder
from pathray.errors import RequestError
from pathray.pretraining.catalogue import Settings, build
from pathray.pretraining.flops import flops_per_image
from pathray.pretraining.masked_image_model import MaskedImageModel
from pathray.pretraining.objective import Views
from pathray.pretraining.reference import load_beitv2, masked_loss
from pathray.pretraining.teacher import Teacher
from pathray.pretraining.vit import Shape


def test_logits_loss_and_gradients_are_the_references() -> None:
    tensors, config = golden("beitv2_mim_tiny")
    model = load_beitv2(below(tensors, "param/"), config)
    predictions = model(tensors["image"], tensors["mask"].bool().flatten(1))
    torch.testing.assert_close(predictions[0], tensors["logits"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(predictions[1], tensors["logits_cls"], atol=1e-5, rtol=1e-4)
    loss = masked_loss(predictions, tensors["labels"])["loss"]
    torch.testing.assert_close(loss, tensors["loss"][0], atol=1e-5, rtol=1e-5)
    loss.backward()
    gradients = below(tensors, "grad/")
    parameters = dict(model.named_parameters())
    assert set(gradients) == set(parameters)
    for name, gradient in gradients.items():
        torch.testing.assert_close(parameters[name].grad, gradient, atol=1e-6, rtol=1e-4)


def test_a_checkpoint_of_any_size_says_its_own_shape() -> None:
    shape = Shape(width=40, depth=5, heads=5, grid=3, patch=8, mlp_ratio=2.5)
    model = MaskedImageModel(
        shape, vocabulary=11, early_layer=2, head_layers=3, layer_scale=0.1
    ).eval()
    images, hidden = torch.rand(2, 3, 24, 24), torch.arange(9).repeat(2, 1) < 4
    state = model.state_dict() | {"rel_pos_bias.relative_position_index": torch.zeros(1)}
    again = load_beitv2(state, {"early_layers": 2})
    for ours, theirs in zip(again(images, hidden), model(images, hidden), strict=True):
        assert torch.equal(ours, theirs)
    assert again.shape == shape


def test_a_checkpoint_that_does_not_fit_is_refused_by_name() -> None:
    tensors, config = golden("beitv2_mim_tiny")
    state = below(tensors, "param/")
    with pytest.raises(RequestError, match="cls_pt_norm"):
        load_beitv2(state | {"cls_pt_norm.weight": torch.ones(48)}, config)
    del state["mask_token"]
    with pytest.raises(RequestError, match="mask_token"):
        load_beitv2(state, config)


def test_the_loss_starts_at_twice_the_logarithm_of_the_vocabulary(tmp_path: Path) -> None:
    losses = beitv2(tmp_path, codes=8192)(views(8))
    assert losses["loss"].item() == pytest.approx(2 * math.log(8192), rel=0.02)


def test_the_head_sees_the_hidden_patches_and_no_others(tmp_path: Path) -> None:
    objective: Any = beitv2(tmp_path)
    rows: list[int] = []
    objective.network.lm_head.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    objective(views(4))
    assert rows == [4 * HIDDEN] * 2


def test_what_is_hidden_does_not_reach_the_network(tmp_path: Path) -> None:
    objective: Any = beitv2(tmp_path)
    batch = views(2)
    assert batch.masks is not None
    hidden = batch.masks.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None]
    other = torch.where(hidden, torch.rand_like(batch.pixels), batch.pixels)
    flat = batch.masks.flatten(1)
    with torch.no_grad():
        first, second = (objective.network(pixels, flat) for pixels in (batch.pixels, other))
    torch.testing.assert_close(first, second)


def test_the_labels_are_the_tokenizers_codes_at_hidden_patches(tmp_path: Path) -> None:
    objective: Any = beitv2(tmp_path)
    tokenizer: Any = vqkd()
    batch = views(4)
    assert batch.masks is not None
    flat = batch.masks.flatten(1)
    codes = tokenizer.eval().network.codes(batch.pixels)[flat]
    assert codes.unique().numel() > 1
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    predictions = objective.network((batch.pixels - mean) / std, flat)
    torch.testing.assert_close(objective(batch)["loss"], masked_loss(predictions, codes)["loss"])


def test_the_class_token_predicts_through_the_early_layer(tmp_path: Path) -> None:
    """The aggregated prediction sees the last layers only through the class token."""
    objective: Any = beitv2(tmp_path)
    network = objective.network
    last = network.blocks[-1]
    loss = objective(views(4))
    (gradient,) = torch.autograd.grad(
        masked_loss_of_aggregation(network, views(4)), last.mlp.fc2.weight
    )
    assert gradient.abs().max() > 0
    assert set(loss) == {
        "loss", "loss_last", "loss_aggregated", "accuracy_last", "accuracy_aggregated",
    }  # fmt: skip


def masked_loss_of_aggregation(network: MaskedImageModel, batch: Views) -> torch.Tensor:
    assert batch.masks is not None
    logits = network(batch.pixels, batch.masks.flatten(1))[1]
    return torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))


def test_the_loss_falls(tmp_path: Path) -> None:
    objective = beitv2(tmp_path)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    losses = []
    for _ in range(30):
        loss = objective(views(8))["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_the_tokenizer_is_neither_trained_nor_saved_but_moves_along(tmp_path: Path) -> None:
    objective: Any = beitv2(tmp_path)
    tokenizer = objective._frozen[0]
    assert not any(p.requires_grad for p in tokenizer.parameters())
    assert {name.split(".")[0] for name in objective.state_dict()} == {"network"}
    before = tokenizer.quantize.weight.clone()
    objective.train()(views(4))["loss"].backward()
    objective.finish_step()
    assert torch.equal(tokenizer.quantize.weight, before)
    objective.to(torch.float64)
    assert tokenizer.encoder.cls_token.dtype == torch.float64


def test_bf16_keeps_losses_and_gradients_finite(tmp_path: Path) -> None:
    objective = beitv2(tmp_path).train()
    with torch.autocast("cpu", torch.bfloat16):
        result = objective(views(4))
    result["loss"].backward()
    assert all(value.isfinite() for value in result.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


def test_the_exported_encoder_gives_the_backbones_features(tmp_path: Path) -> None:
    objective = beitv2(tmp_path / "tokenizer")
    torch.manual_seed(0)
    with torch.no_grad():  # what starts at zero or one must count too
        for parameter in objective.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    objective.export(str(tmp_path / "encoder"), "mine", 0.25)
    tiles = torch.randint(0, 256, (3, SIDE, SIDE, 3), dtype=torch.uint8)
    encoder = load_encoder(str(tmp_path / "encoder"), precision="fp32")
    expected = objective.features(tiles.permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(encoder(tiles), expected.numpy(), atol=1e-5)
    assert (encoder.spec.name, encoder.mpp, encoder.dim) == ("mine", 0.25, 192)
    assert encoder.spec.mean == MEAN
    assert Teacher(encoder, 4).width == 192


def test_the_base_size_is_the_papers() -> None:
    with torch.device("meta"):
        shape = Settings(mean=MEAN, std=STD).shape
        model = MaskedImageModel(
            shape, vocabulary=8192, early_layer=9, head_layers=2, layer_scale=0.1
        )
    only_pretraining = ("mask_token", "cls_pt_layers.", "norm.", "lm_head.")
    encoder = [p for n, p in model.named_parameters() if not n.startswith(only_pretraining)]
    table = 732 * 12
    # 85.76M as timm counts them, with a table of position biases in each of twelve layers.
    assert sum(p.numel() for p in encoder) + 11 * table == 85_760_448


def test_residuals_start_smaller_with_depth(tmp_path: Path) -> None:
    network: Any = beitv2(tmp_path).network
    for layer, block in enumerate(network.blocks, 1):
        bound = 0.02 / math.sqrt(2 * layer)
        assert greatest(block.attn.proj.weight) == pytest.approx(bound, rel=0.02)
        assert greatest(block.attn.qkv.weight) == pytest.approx(0.02, rel=0.02)
    for layer, block in enumerate(network.cls_pt_layers, network.early_layer + 1):
        bound = 0.02 / math.sqrt(2 * layer)
        assert greatest(block.mlp.fc2.weight) == pytest.approx(bound, rel=0.02)


def greatest(weight: torch.Tensor) -> float:
    return weight.detach().abs().max().item()


def test_operations_are_counted_and_leave_no_trace(tmp_path: Path) -> None:
    objective = beitv2(tmp_path).train()
    once, twice = flops_per_image(objective, views(2)), flops_per_image(objective, views(4))
    assert once == twice
    # Six a parameter and token for training, two for the tokenizer, the head apart.
    assert 6 * 17 * 4 * 12 * 192**2 < once < 3 * 6 * 17 * 4 * 12 * 192**2
    assert objective.training
    assert all(p.grad is None for p in objective.parameters())


def test_what_cannot_be_built_is_said(tmp_path: Path) -> None:
    common: Any = {"size": "tiny", "mean": MEAN, "std": STD}
    with pytest.raises(RequestError, match="needs a tokenizer"):
        build("beitv2", Settings(**common))
    vqkd().export(str(tmp_path), "tokenizer", None)
    with pytest.raises(RequestError, match="one input size"):
        build("beitv2", Settings(**common, input_size=96, tokenizer=str(tmp_path)))
    with pytest.raises(RequestError, match="no multiple of 16"):
        build("beitv2", Settings(**common, input_size=100, tokenizer=str(tmp_path)))
    with pytest.raises(RequestError, match="known: base, large, small, tiny"):
        build("vqkd", Settings(**common | {"size": "huge"}, teacher=teacher()))
    with pytest.raises(RequestError, match="known: beitv2, vqkd"):
        build("mae", Settings(**common))
