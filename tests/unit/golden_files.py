"""Golden files: what reference implementations computed."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def golden(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a golden file, and the configuration that they were computed with."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        names: list[str] = file.keys()
        return {key: file.get_tensor(key) for key in names}, json.loads(file.metadata()["config"])


def below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
