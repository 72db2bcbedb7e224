"""Models that CLAM's own code trained: its state dicts, by its names, to our aggregators.

attention_net.0                          tiles to hidden
attention_net.{2,3}.attention_{a,b}.0    V and U of the gate (2 where it has no dropout)
attention_net.{2,3}.attention_c          scores, a row a branch
classifiers | classifiers.{i}            CLAM_SB | CLAM_MB
instance_classifiers.{i}                 a pair of logits a class
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pathray.encoders.checkpoint import read_tensors
from pathray.errors import RequestError
from pathray.mil.aggregator import Aggregator, AggregatorSettings, InstanceLoss
from pathray.mil.aggregators import build_aggregator

_INSTANCE_LOSSES: dict[str, InstanceLoss] = {"cross_entropy": "ce", "ce": "ce", "svm": "svm"}
_PREFIX = re.compile(r"^(module\.|param/|model\.)")
_NET = re.compile(r"^attention_net\.[23]\.(attention_[abc])\.(?:0\.)?(weight|bias)$")


def load_clam(uri: str, config: Mapping[str, Any] | None = None) -> Aggregator:
    """The model in a CLAM checkpoint (torch or safetensors) at any URI; see `clam_model`."""
    return clam_model(read_tensors(uri), config)


def clam_model(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None = None
) -> Aggregator:
    """The aggregator with the weights of CLAM's state dict, in eval mode.

    Widths, classes and variant are read off the tensors; other tensors than CLAM's parameters
    (`bag0/…` beside `param/…`) are ignored. `config` holds what they do not say, under CLAM's
    names, all optional: `k_sample` (8), `subtyping` (False), `bag_weight` (0.7),
    `instance_loss` ("svm" or "cross_entropy"), `dropout` (0.25). Raises RequestError when a
    tensor is missing or the gate is not CLAM's gated one.
    """
    named = _named(tensors)
    settings = _settings(named, config or {})
    model = build_aggregator(settings)
    model.load_state_dict(_translated(named, settings))
    return model.eval()


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLAM's parameters without wrapper prefixes; the gate's as `attention_a.weight` etc."""
    named = {}
    for name, tensor in tensors.items():
        plain = _PREFIX.sub("", name)
        gate = _NET.match(plain)
        named[f"{gate[1]}.{gate[2]}" if gate else plain] = tensor.float()
    for needed in ("attention_net.0.weight", "attention_a.weight", "attention_b.weight"):
        if needed not in named:
            raise RequestError(f"no gated CLAM model: it lacks {needed}")
    return named


def _settings(named: Mapping[str, Tensor], config: Mapping[str, Any]) -> AggregatorSettings:
    hidden, dim = named["attention_net.0.weight"].shape
    single = "classifiers.weight" in named
    outputs = sum(1 for name in named if re.fullmatch(r"instance_classifiers\.\d+\.weight", name))
    loss = config.get("instance_loss", "svm")
    if loss not in _INSTANCE_LOSSES:
        raise RequestError(f"unknown instance_loss {loss!r}; known: svm, cross_entropy")
    return AggregatorSettings(
        aggregator="clam_sb" if single else "clam_mb",
        dim=dim,
        outputs=outputs,
        hidden=hidden,
        attention=len(named["attention_a.weight"]),
        dropout=config.get("dropout", 0.25),
        inst_loss=_INSTANCE_LOSSES[loss],
        subtyping=config.get("subtyping", False),
        k=config.get("k_sample", 8),
        bag_weight=config.get("bag_weight", 0.7),
    )


def _translated(named: Mapping[str, Tensor], settings: AggregatorSettings) -> dict[str, Tensor]:
    classes = range(settings.outputs)
    single = settings.aggregator == "clam_sb"
    sources = {
        "hidden": ["attention_net.0"],
        "gates": ["attention_a", "attention_b"],
        "scores": ["attention_c"],
        "classifier": ["classifiers"] if single else [f"classifiers.{i}" for i in classes],
        "instance_classifiers": [f"instance_classifiers.{i}" for i in classes],
    }
    try:
        return {
            f"{ours}.{part}": torch.cat([named[f"{name}.{part}"] for name in theirs])
            for ours, theirs in sources.items()
            for part in ("weight", "bias")
        }
    except KeyError as error:
        raise RequestError(f"no CLAM model: it lacks {error.args[0]}") from error


def clam_config(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """The config in a safetensors file's metadata (key `config`, JSON); empty without one."""
    return dict(json.loads((metadata or {}).get("config", "{}")))
