"""The encoder directory: `encoder.json` beside `model.safetensors`, at any URI."""

import json
from typing import TYPE_CHECKING, Any

from pathray.encoders.architecture import TimmModel, TransformersModel
from pathray.encoders.spec import EncoderSpec
from pathray.errors import RequestError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

FORMAT = 1
DESCRIPTION = "encoder.json"
WEIGHTS = "model.safetensors"

_LIBRARIES: dict[str, type[TimmModel] | type[TransformersModel]] = {
    "timm": TimmModel,
    "transformers": TransformersModel,
}
_FIELDS = {
    "format", "name", "architecture", "input_size", "resize_to", "rgb_mean", "rgb_std",
    "interpolation", "pooling", "dim", "expected_mpp", "licence", "source", "precision",
    "digest",
}  # fmt: skip


def is_encoder_directory(uri: str) -> bool:
    """Whether there is an `encoder.json` below the URI."""
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(uri.rstrip("/") + "/" + DESCRIPTION)
        return bool(fs.exists(path))
    except Exception:
        return False


def read_description(uri: str) -> tuple[EncoderSpec, str]:
    """The spec and the recorded digest of an encoder directory, without its weights.

    Raises RequestError naming what is missing or unknown in `encoder.json`.
    """
    import fsspec

    where = f"{uri.rstrip('/')}/{DESCRIPTION}"
    try:
        with fsspec.open(where, "rb") as file:
            described = json.loads(file.read())
    except Exception as error:
        raise RequestError(f"cannot read {where}: {one_line(error, 160)}") from error
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
    if architecture.get("library") not in _LIBRARIES:
        known = ", ".join(_LIBRARIES)
        raise RequestError(f"{where}: unknown library {architecture.get('library')!r}; {known}")
    mean, std = described["rgb_mean"], described["rgb_std"]
    return EncoderSpec(
        name=described["name"],
        builder=_LIBRARIES[architecture["library"]](
            architecture["model"], architecture.get("kwargs", {})
        ),
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
    library = next((k for k, v in _LIBRARIES.items() if isinstance(spec.builder, v)), None)
    if library is None:
        raise RequestError(
            f"encoder {spec.name!r} is built by code, not by a timm or transformers name: "
            f"it cannot be written to an encoder directory"
        )
    architecture: Any = spec.builder
    return {
        "format": FORMAT,
        "name": spec.name,
        "architecture": {
            "library": library,
            "model": architecture.model,
            "kwargs": dict(architecture.kwargs),
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
    _put(f"{uri.rstrip('/')}/{WEIGHTS}", safetensors.torch.save(contiguous))
    _put(f"{uri.rstrip('/')}/{DESCRIPTION}", description.encode())
    return digest


def _put(uri: str, data: bytes) -> None:
    from fsspec.core import url_to_fs

    fs, path = url_to_fs(uri, auto_mkdir=True) if "://" not in uri else url_to_fs(uri)
    fs.pipe_file(path, data)
