"""Foreign checkpoints become encoder directories."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pathray.encoders.architecture import TimmModel
from pathray.encoders.checkpoint import read_tensors
from pathray.encoders.digest import digest_of
from pathray.encoders.directory import write_directory
from pathray.encoders.inference import beit_architecture, vit_architecture
from pathray.encoders.loading import model_with
from pathray.encoders.naming import namings
from pathray.encoders.spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    RGB,
    EncoderSpec,
    Interpolation,
    registry,
)
from pathray.errors import RequestError

if TYPE_CHECKING:
    import torch

# transformers' defaults: its ViT's epsilon is far smaller than its DINOv2's.
_VIT_NORM_EPS, _DINOV2_NORM_EPS = 1e-12, 1e-6


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the user says of a checkpoint; None leaves it to the checkpoint or `like`."""

    name: str | None = None
    model: str | None = None
    model_kwargs: Mapping[str, Any] | None = None
    num_heads: int | None = None
    input_size: int | None = None
    mean: RGB | None = None
    std: RGB | None = None
    interpolation: Interpolation | None = None
    pooling: str | None = None
    mpp: float | None = None
    licence: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote."""

    spec: EncoderSpec
    digest: str
    unused: tuple[str, ...]
    """Tensors of the checkpoint that are no part of the encoder, by timm's names."""


def convert(
    checkpoint: str,
    out: str,
    *,
    format: str,
    like: str | None = None,
    overrides: Overrides | None = None,
    allow_pickle: bool = False,
) -> Converted:
    """Write the encoder directory `out` from a checkpoint at any URI.

    `format` is the checkpoint's naming: beph, unilm-beitv2, timm or hf. `like` is a registered
    encoder whose network, preprocessing, pooling and licence it takes; without it the network
    is read off the tensors (timm: given as `overrides.model`) and beph takes `beph`'s.
    Raises RequestError, and writes nothing, when a tensor is missing, unknown or of a wrong
    shape.
    """
    asked = overrides or Overrides()
    tensors = namings.get(format)(read_tensors(checkpoint, allow_pickle))
    spec = _with(
        _spec(tensors, format, like, asked), asked, default_name=out.rstrip("/").rsplit("/", 1)[-1]
    )
    model, unused = model_with(spec, tensors, checkpoint)
    spec = replace(spec, width=_measure_width(spec, model))
    state = model.state_dict()
    write_directory(out, spec, state)
    return Converted(spec, digest_of(state, spec), unused)


def _spec(
    tensors: "Mapping[str, torch.Tensor]", format_: str, like: str | None, asked: Overrides
) -> EncoderSpec:
    if like is not None:
        spec = registry.get(like)
        if not isinstance(spec.builder, TimmModel):
            raise RequestError(f"--like {like}: that encoder's network is no timm model")
        return spec
    if format_ == "beph":
        architecture = beit_architecture(tensors)
        return replace(registry.get("beph"), builder=architecture, input_size=_side(architecture))
    if format_ == "unilm-beitv2":
        architecture, pooling = beit_architecture(tensors), "mean_patch"
    elif format_ == "hf":
        scaled = "blocks.0.ls1.gamma" in tensors
        eps = _DINOV2_NORM_EPS if scaled else _VIT_NORM_EPS
        architecture, pooling = vit_architecture(tensors, asked.num_heads, eps), "class"
        if asked.input_size not in (None, _side(architecture)):
            # The position embedding keeps its grid and is interpolated to the tile's.
            architecture = replace(
                architecture, kwargs={**architecture.kwargs, "dynamic_img_size": True}
            )
    elif asked.model is not None:
        architecture, pooling = TimmModel(asked.model, dict(asked.model_kwargs or {})), "model"
    else:
        raise RequestError("--format timm needs the network: --model NAME, or --like ENCODER")
    return _blank(architecture, pooling)


def _blank(architecture: TimmModel, pooling: str) -> EncoderSpec:
    """A spec of which nothing is known but the network; ImageNet's mean is the field's default."""
    return EncoderSpec(
        name="",
        builder=architecture,
        weights=None,
        input_size=_side(architecture),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bicubic",
        pooling=pooling,
        width=0,
        mpp=None,
        licence=None,
        source=None,
        gated=None,
        precision=None,
    )


def _side(architecture: TimmModel) -> int:
    import timm

    if "img_size" in architecture.kwargs:
        return int(architecture.kwargs["img_size"])
    config = timm.get_pretrained_cfg(architecture.model)
    return 224 if config is None else int(config.input_size[-1])


def _with(spec: EncoderSpec, asked: Overrides, default_name: str) -> EncoderSpec:
    given = {
        field: value
        for field in ("name", "mean", "std", "interpolation", "pooling", "mpp", "licence", "source")
        if (value := getattr(asked, field)) is not None
    }
    if asked.input_size is not None:
        if "use_rel_pos_bias" in getattr(spec.builder, "kwargs", {}):
            raise RequestError("--input-size: a relative position bias fits one size only")
        given["input_size"] = asked.input_size
    return replace(spec, **{"name": spec.name or default_name, **given})


def _measure_width(spec: EncoderSpec, model: "torch.nn.Module") -> int:
    """Length of the embedding; fails here rather than in a job when the pooling does not fit."""
    import torch

    from pathray.encoders.network import Output
    from pathray.encoders.pooling import poolings

    with torch.inference_mode():
        images = torch.zeros(1, 3, spec.input_size, spec.input_size)
        return int(poolings.get(spec.pooling)(Output(model, images)).shape[-1])
