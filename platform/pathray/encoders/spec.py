"""What an encoder is, before its weights are there: the row of the registry."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pathray.encoders.architecture import Architecture, ForeignCode
from pathray.registry import Registry

if TYPE_CHECKING:
    import torch

RGB = tuple[float, float, float]
Interpolation = Literal["nearest", "bilinear", "bicubic", "area"]
Precision = Literal["fp32", "bf16", "fp16"]

IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TimmWeights:
    """The weights that timm itself releases under the model's name."""


@dataclass(frozen=True)
class HubWeights:
    """A file of a Hugging Face repository; the first of `files` that exists is taken."""

    repository: str
    files: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """One tile encoder. What is not known is None, never invented.

    `builder` is the network; a callable brings its own weights. For a `light` encoder (no
    torch, no accelerator) it is a callable from the spec to the Encoder itself. `weights` says
    where released weights are; None: nowhere that can be fetched.
    `input_size` is the side in pixels that the network sees. `resize_to` is the side a tile is
    resized to first when the published preprocessing then crops the centre; None: a tile is
    resized to `input_size`. `mean` and `std` are RGB in 0..1, None for an encoder that takes
    raw bytes. `pooling` names the rule that makes one vector of the tokens (`pooling.py`),
    `width` is that vector's length. `mpp` is microns per pixel of the tiles it expects.
    `source` is the hub id or page. `precision` is what its authors run it in. `parameters` is
    the count its authors state.
    """

    name: str
    builder: "Architecture | ForeignCode | Callable[[EncoderSpec], Encoder]"
    weights: TimmWeights | HubWeights | None
    input_size: int
    mean: RGB | None
    std: RGB | None
    interpolation: Interpolation
    pooling: str
    width: int
    mpp: float | None
    licence: str | None
    source: str | None
    gated: bool | None
    precision: Precision | None
    resize_to: int | None = None
    parameters: int | None = None
    light: bool = False

    @property
    def tile_size(self) -> int:
        """Side in pixels of the tiles this encoder wants to be given."""
        return self.resize_to or self.input_size


unreleased = partial(
    EncoderSpec,
    weights=None,
    interpolation="bicubic",
    licence=None,
    source=None,
    gated=False,
    precision=None,
)
"""The spec of weights that were trained here: no source and no licence, nothing to ask for."""


class Encoder(Protocol):
    """Tiles to vectors. The same batch gives the same bytes on the same hardware."""

    spec: EncoderSpec
    digest: str
    """sha256 (hex) of the sorted tensors with preprocessing and pooling; see `digest.py`."""
    precision: Precision
    dim: int
    input_size: int
    mpp: float | None

    def __call__(self, tiles: "NDArray[np.uint8] | torch.Tensor") -> NDArray[np.float32]:
        """Embeddings, float32 (B, dim), of RGB tiles, uint8 (B, H, W, 3)."""
        ...

    def patch_tokens(self, tiles: "NDArray[np.uint8] | torch.Tensor") -> NDArray[np.float32]:
        """Dense features, float32 (B, h, w, D), row-major over the tile.

        Raises RequestError for an encoder that has none.
        """
        ...


registry: Registry[EncoderSpec] = Registry("encoder")


def add(spec: EncoderSpec) -> EncoderSpec:
    """Register a spec under its own name."""
    return registry.add(spec.name, spec)
