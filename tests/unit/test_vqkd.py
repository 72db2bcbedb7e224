"""Objective `vqkd`: the tokenizer learns to restore a teacher's features."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_objectives
import torch
from golden_files import below, golden
from small_objectives import GRID, MEAN, SIDE, STD, teacher, views, vqkd

from jobs.convert import ConvertFlags, run
from pathray.encoders import load_encoder
from pathray.encoders.loading import random_model
from pathray.errors import RequestError
from pathray.pretraining.catalogue import Settings, build
from pathray.pretraining.reference import (
    distillation_loss,
    load_vqkd,
)
from pathray.pretraining.teacher import Teacher
from pathray.pretraining.tokenizer_directory import read_tokenizer


def test_tokens_and_reconstruction_are_the_references() -> None:
    tensors, config = golden("beitv2_vqkd_tiny")
    restored = load_vqkd(below(tensors, "param/"), config)(tensors["image"])
    assert torch.equal(restored.quantised.codes, tensors["tokens"])
    quantised = tensors["quantized"].flatten(2).mT
    torch.testing.assert_close(restored.quantised.vectors, quantised, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(restored.features, tensors["reconstruction"], atol=1e-5, rtol=1e-4)


def test_a_training_step_is_the_references_with_gradients_and_codebook() -> None:
    tensors, config = golden("beitv2_vqkd_tiny")
    model = load_vqkd(below(tensors, "param/"), config).train()
    losses = distillation_loss(model(tensors["image"]), tensors["target"])
    losses["loss"].backward()
    model.quantize.update()
    for ours, theirs in (
        ("loss_distillation", "train_reconstruction_loss"),
        ("loss_commitment", "train_quantize_loss"),
    ):
        torch.testing.assert_close(losses[ours], tensors[theirs][0], atol=1e-6, rtol=1e-5)
    gradients = below(tensors, "grad/")
    parameters = dict(model.named_parameters())
    assert set(gradients) == set(parameters)
    for name, gradient in gradients.items():
        torch.testing.assert_close(parameters[name].grad, gradient, atol=1e-6, rtol=1e-4)
    after = below(tensors, "codebook_after/")
    torch.testing.assert_close(model.quantize.weight, after["quantize.embedding.weight"])
    torch.testing.assert_close(model.quantize.hits, after["quantize.cluster_size"])


def test_a_released_tokenizer_becomes_a_directory_that_gives_its_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors, _ = golden("beitv2_vqkd_tiny")
    state = below(tensors, "param/") | {"teacher_model.proj": torch.zeros(2)}
    torch.save({"model": state}, tmp_path / "vqkd.pth")
    out = str(tmp_path / "tokenizer")
    flags: Any = {"checkpoint": str(tmp_path / "vqkd.pth"), "out": out, "format": "unilm-vqkd"}
    assert run(ConvertFlags(**flags, num_heads=3)) == 0
    tokenizer, digest = read_tokenizer(out)
    assert digest in capsys.readouterr().out
    with pytest.raises(RequestError, match="--pooling is not for"):
        run(ConvertFlags(**flags, pooling="class"))
    assert torch.equal(tokenizer.codes(tensors["image"]), tensors["tokens"])


def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_its_name() -> None:
    tensors, config = golden("beitv2_vqkd_tiny")
    state = below(tensors, "param/")
    del state["encode_task_layer.2.bias"]
    with pytest.raises(RequestError, match=r"encode_task_layer\.2\.bias"):
        load_vqkd(state, config)
    with pytest.raises(RequestError, match=r"decoder\.pos_embed"):
        load_vqkd({n: t for n, t in state.items() if not n.startswith("decoder.")}, config)


def test_the_teacher_is_neither_trained_nor_saved() -> None:
    objective: Any = vqkd()
    network = objective.teacher.encoder.model
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimiser = torch.optim.AdamW(objective.parameters(), lr=0.01)
    objective(views(4))["loss"].backward()
    optimiser.step()
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert {name.split(".")[0] for name in objective.state_dict()} == {"network"}
    trained = {id(p) for p in objective.parameters()}
    assert not trained & {id(p) for p in network.parameters()}


def test_the_loss_falls() -> None:
    objective = vqkd()
    objective.warm_start(views(8))
    optimiser = torch.optim.AdamW(objective.parameters(), lr=5e-4)
    losses = []
    for _ in range(25):
        loss = objective(views(8))["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        objective.finish_step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert 0 < objective.report()["codebook_usage"] <= 1


def test_the_start_puts_codes_where_tokens_are() -> None:
    objective: Any = vqkd(codes=32)
    cold = objective(views(8))["loss_commitment"]
    objective.warm_start(views(8))
    assert objective(views(8))["loss_commitment"] < 0.5 * cold


def test_the_same_seed_gives_the_same_weights() -> None:
    torch.manual_seed(1)
    first = vqkd().state_dict()
    torch.manual_seed(2)
    second = vqkd().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_bf16_keeps_losses_and_gradients_finite() -> None:
    objective = vqkd().train()
    with torch.autocast("cpu", torch.bfloat16):
        result = objective(views(4))
    result["loss"].backward()
    assert all(value.isfinite() for value in result.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


def test_a_teacher_with_patches_of_14_sees_pixels_that_make_the_grids_agree() -> None:
    guide = Teacher(teacher(patch=14, side=224), GRID)
    assert (guide.side, guide.width) == (14 * GRID, 192)
    assert guide(views(2).pixels).shape == (2, GRID**2, 192)


def test_a_teacher_of_the_same_patch_gives_the_encoders_patch_tokens() -> None:
    tiles = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    expected = teacher().patch_tokens(tiles).reshape(2, GRID**2, 192)
    given = Teacher(teacher(), GRID)(tiles.permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(given.numpy(), expected, atol=1e-5)


def test_a_teacher_without_patch_tokens_is_refused() -> None:
    with pytest.raises(RequestError, match=r"mean_rgb.*no patch tokens"):
        Teacher(load_encoder("mean_rgb"), GRID)
    settings = Settings(size="tiny", input_size=SIDE, mean=MEAN, std=STD)
    with pytest.raises(RequestError, match="needs a teacher"):
        build("vqkd", settings)


def test_the_export_is_a_tokenizer_and_an_encoder(tmp_path: Path) -> None:
    objective: Any = vqkd()
    objective(views(4))
    objective.finish_step()
    objective.export(str(tmp_path), "first", 0.5)
    tiles = torch.randint(0, 256, (3, SIDE, SIDE, 3), dtype=torch.uint8)
    pixels = tiles.permute(0, 3, 1, 2) / 255
    tokenizer, _ = read_tokenizer(str(tmp_path))
    objective.eval()
    assert torch.equal(tokenizer.codes(pixels), objective.network.codes(pixels))
    encoder = load_encoder(str(tmp_path), precision="fp32")
    assert (encoder.spec.name, encoder.mpp, encoder.input_size) == ("first", 0.5, SIDE)
    np.testing.assert_allclose(encoder(tiles), objective.features(pixels).numpy(), atol=1e-5)


def test_a_tokenizer_that_was_changed_is_refused(tmp_path: Path) -> None:
    vqkd().export(str(tmp_path), "first", None)
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    for change, complaint in (
        ({"digest": "0" * 64}, "changed after it was written"),
        ({"format": 2}, "format 2"),
        ({"encoder": {"width": 3}}, "does not describe a tokenizer"),
    ):
        (tmp_path / "tokenizer.json").write_text(json.dumps(described | change))
        with pytest.raises(RequestError, match=complaint):
            small_objectives.beitv2(tmp_path)
    with pytest.raises(RequestError, match="none"):
        read_tokenizer(str(tmp_path / "none"))


def test_the_random_teacher_is_what_its_seed_says() -> None:
    spec = teacher().spec
    first, second = random_model(spec, 7).state_dict(), teacher().model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
