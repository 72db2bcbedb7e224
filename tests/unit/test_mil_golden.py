"""CLAM's own numbers: logits, attention, losses and gradients of reference files."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.nn.functional import cross_entropy

from pathray.mil.clam_weights import clam_config, clam_model

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("clam_*.safetensors"))


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, clam_config(file.metadata())  # noqa: SIM118


def bags_in(tensors: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    names = sorted({key.split("/")[0] for key in tensors if key.startswith("bag")})
    return [
        {key.split("/")[1]: value for key, value in tensors.items() if key.startswith(f"{name}/")}
        for name in names
    ]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_bag_alone_gives_clams_numbers(path: Path) -> None:
    tensors, config = read(path)
    for bag in bags_in(tensors):
        model = clam_model(tensors, config)
        labels = bag["label"]
        found = model(bag["features"], torch.tensor([0, len(bag["features"])]))
        instance = model.instance_loss(found, labels)
        bag_loss = cross_entropy(found.logits, labels)
        model.loss(found, partial(cross_entropy, target=labels), labels).backward()
        for ours, theirs in (
            (found.logits, bag["logits"]),
            (found.attention.T, bag["attention_raw"]),
            (bag_loss, bag["bag_loss"][0]),
            (instance, bag["instance_loss"][0]),
            (model.hidden.weight.grad, bag["grad_first_linear"]),
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_all_bags_in_one_training_batch_give_clams_numbers(path: Path) -> None:
    tensors, config = read(path)
    bags = bags_in(tensors)
    model = clam_model(tensors, {**config, "dropout": 0.0}).train()
    labels = torch.cat([bag["label"] for bag in bags])
    sizes = [len(bag["features"]) for bag in bags]
    offsets = torch.tensor([0, *np.cumsum(sizes)])
    found = model(torch.cat([bag["features"] for bag in bags]), offsets)
    model.loss(found, lambda logits: cross_entropy(logits, labels), labels).backward()
    mean = {name: torch.stack([bag[name] for bag in bags]).mean(0) for name in (
        "bag_loss", "instance_loss", "grad_first_linear")}  # fmt: skip
    close = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(found.logits, torch.cat([b["logits"] for b in bags]), **close)
    raw = torch.cat([bag["attention_raw"].T for bag in bags])
    torch.testing.assert_close(found.attention, raw, **close)
    torch.testing.assert_close(cross_entropy(found.logits, labels), mean["bag_loss"][0], **close)
    torch.testing.assert_close(
        model.instance_loss(found, labels), mean["instance_loss"][0], **close
    )
    torch.testing.assert_close(model.hidden.weight.grad, mean["grad_first_linear"], **close)
