"""The encoder directory: `encoder.json` beside `model.safetensors`, at any URI."""

import json
from typing import TYPE_CHECKING, Any

from pathray import storage
from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import EncoderSpec
from pathray.errors import RequestError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

FORMAT = 1
DESCRIPTION = "encoder.json"
WEIGHTS = "model.safetensors"

_LIBRARY = "timm"
_FIELDS = {
    "format", "name", "architecture", "input_size", "resize_to", "rgb_mean", "rgb_std",
    "interpolation", "pooling", "dim", "expected_mpp", "licence", "source", "precision",
    "digest",
}  # fmt: skip


def is_encoder_directory(uri: str) -> bool:
    """Whether there is an `encoder.json` below the URI.

    Raises RequestError when the store cannot be asked.
    """
    try:
        return storage.exists(storage.join(uri, DESCRIPTION))
    except NotADirectoryError:
        return False
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(storage.reason(uri, error)) from error


def read_description(uri: str) -> tuple[EncoderSpec, str]:
    """The spec and the recorded digest of an encoder directory, without its weights.

    Raises RequestError naming what is missing or unknown in `encoder.json`.
    """
    from pathray.encoders.checkpoint import read_object

    where = storage.join(uri, DESCRIPTION)
    try:
        described = json.loads(read_object(where))
    except ValueError as error:
        raise RequestError(f"{where} is not JSON: {one_line(error, 160)}") from error
    if not isinstance(described, dict):
        raise RequestError(f"{where} is not a JSON object")
    for problem, names in (
        ("lacks", _FIELDS - set(described)),
        ("has unknown", set(described) - _FIELDS),
    ):
        if names:
            raise RequestError(f"{where} {problem} {', '.join(sorted(names))}")
    if described["format"] != FORMAT:
        raise RequestError(f"{where} has format {described['format']}; this version reads {FORMAT}")
    return _spec(described, where), described["digest"]


def _spec(described: dict[str, Any], where: str) -> EncoderSpec:
    architecture = described["architecture"]
    if architecture.get("library") != _LIBRARY:
        raise RequestError(f"{where}: unknown library {architecture.get('library')!r}; known: timm")
    mean, std = described["rgb_mean"], described["rgb_std"]
    return EncoderSpec(
        name=described["name"],
        builder=TimmModel(architecture["model"], architecture.get("kwargs", {})),
        weights=None,
        input_size=described["input_size"],
        resize_to=described["resize_to"],
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        interpolation=described["interpolation"],
        pooling=described["pooling"],
        width=described["dim"],
        mpp=described["expected_mpp"],
        licence=described["licence"],
        source=described["source"],
        gated=False,
        precision=described["precision"],
    )


def describe(spec: EncoderSpec, digest: str) -> dict[str, Any]:
    """The content of `encoder.json`."""
    if not isinstance(spec.builder, TimmModel):
        raise RequestError(
            f"encoder {spec.name!r} is built by code, not by a timm name: "
            f"it cannot be written to an encoder directory"
        )
    return {
        "format": FORMAT,
        "name": spec.name,
        "architecture": {
            "library": _LIBRARY,
            "model": spec.builder.model,
            "kwargs": dict(spec.builder.kwargs),
        },
        "input_size": spec.input_size,
        "resize_to": spec.resize_to,
        "rgb_mean": spec.mean,
        "rgb_std": spec.std,
        "interpolation": spec.interpolation,
        "pooling": spec.pooling,
        "dim": spec.width,
        "expected_mpp": spec.mpp,
        "licence": spec.licence,
        "source": spec.source,
        "precision": spec.precision,
        "digest": digest,
    }


def write_directory(uri: str, spec: EncoderSpec, tensors: "Mapping[str, torch.Tensor]") -> str:
    """Write an encoder directory; returns its digest. `tensors` is the network's state dict.

    The weights go first: a directory with an `encoder.json` is whole.
    """
    import safetensors.torch

    from pathray.encoders.digest import digest_of

    digest = digest_of(tensors, spec)
    description = json.dumps(describe(spec, digest), indent=2) + "\n"
    contiguous = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    storage.put_bytes(storage.join(uri, WEIGHTS), safetensors.torch.save(contiguous))
    storage.put_bytes(storage.join(uri, DESCRIPTION), description.encode())
    return digest
