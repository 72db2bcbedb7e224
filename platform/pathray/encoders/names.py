"""From what a user writes after `--encoder` to a spec, without weights."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from pathray.encoders import external
from pathray.encoders.architecture import TimmModel
from pathray.encoders.directory import is_encoder_directory, read_description
from pathray.encoders.spec import EncoderSpec, TimmWeights, registry
from pathray.errors import RequestError

TIMM_PREFIX = "timm/"


@dataclass(frozen=True)
class Found:
    """A spec, and for an encoder directory its URI and the digest recorded there."""

    spec: EncoderSpec
    directory: str | None = None
    digest: str | None = None


def resolve(name: str) -> EncoderSpec:
    """The spec of a registered name, `timm/NAME`, an encoder directory, or `file.py:NAME`.

    Cheap: nothing is downloaded and no weights are read. Raises RequestError for a name that
    is none of these, with the close ones.
    """
    return find(name).spec


def find(name: str) -> Found:
    """As `resolve`, with where an encoder directory lies."""
    if name in registry:
        return Found(registry.get(name))
    if name.startswith(TIMM_PREFIX):
        return Found(_timm_spec(name))
    if ".py:" in name:
        return Found(external.from_file(name))
    if is_encoder_directory(name):
        return Found(*_in_directory(name.rstrip("/")))
    if "://" in name or "/" in name or Path(name).exists():
        raise RequestError(f"{name} is no encoder directory: there is no encoder.json in it")
    installed = external.installed()
    if name in installed:
        return Found(installed[name])
    raise RequestError(_unknown(name, [*registry, *installed]))


def _in_directory(uri: str) -> tuple[EncoderSpec, str, str]:
    spec, digest = read_description(uri)
    return spec, uri, digest


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=4, cutoff=0.5)
    if close:
        return f"unknown encoder {name!r}; did you mean {', '.join(close)}?"
    return f"unknown encoder {name!r}; known: {', '.join(sorted(known))}, timm/NAME, a directory"


def _timm_spec(name: str) -> EncoderSpec:
    import timm

    model = name.removeprefix(TIMM_PREFIX)
    architecture = model.split(".", 1)[0]
    tags = timm.list_pretrained(architecture) if timm.is_model(architecture) else []
    if not timm.is_model(architecture):
        raise RequestError(_unknown(model, timm.list_models()) + " (names of timm)")
    if "." in model and model not in tags:
        raise RequestError(f"timm has no weights {model!r}; it has: {', '.join(tags) or 'none'}")
    config = timm.get_pretrained_cfg(model)
    return EncoderSpec(
        name=name,
        builder=TimmModel(model),
        weights=TimmWeights(),
        input_size=config.input_size[-1],
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation=config.interpolation,
        pooling="model",
        width=_feature_width(model, config.input_size),
        mpp=None,
        licence=config.license,
        source=config.hf_hub_id or f"timm {model}",
        gated=False,
        precision=None,
    )


def _feature_width(model: str, input_size: tuple[int, int, int]) -> int:
    """Length of the pooled feature, from a forward pass without memory or arithmetic."""
    import timm
    import torch

    with torch.device("meta"), torch.inference_mode():
        network = timm.create_model(model, num_classes=0).eval()
        return int(network(torch.empty(1, *input_size)).shape[-1])
