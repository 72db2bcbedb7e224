"""Objectives small enough for unit tests: 64 px, 4 x 4 patches."""

from functools import cache
from pathlib import Path

import torch

from pathray.encoders.architecture import TimmModel
from pathray.encoders.loading import random_model
from pathray.encoders.spec import EncoderSpec
from pathray.encoders.torch_encoder import TorchEncoder
from pathray.pretraining.catalogue import build
from pathray.pretraining.objective import Objective, Settings, Views

SIDE, GRID, HIDDEN = 64, 4, 6
MEAN, STD = (0.7, 0.5, 0.7), (0.2, 0.25, 0.2)


def teacher(patch: int = 16, side: int = SIDE) -> TorchEncoder:
    """A ViT of two layers with random weights."""
    spec = EncoderSpec(
        name=f"random_patch{patch}",
        builder=TimmModel(
            "vit_tiny_patch16_224", {"img_size": side, "patch_size": patch, "depth": 2}
        ),
        weights=None,
        input_size=side,
        mean=MEAN,
        std=STD,
        interpolation="bicubic",
        pooling="class",
        width=192,
        mpp=None,
        licence=None,
        source=None,
        gated=None,
        precision=None,
    )
    return TorchEncoder(spec, random_model(spec, 7), "digest", "fp32", torch.device("cpu"))


def vqkd(codes: int = 16, reseed_after: int | None = None, patch: int = 16) -> Objective:
    """The tokenizer's objective, tiny, with a codebook of `codes`."""
    settings = Settings(
        size="tiny",
        input_size=SIDE,
        mean=MEAN,
        std=STD,
        teacher=teacher(patch),
        codebook_size=codes,
        code_width=8,
        decoder_depth=1,
        reseed_after=reseed_after,
    )
    return build("vqkd", settings)


def beitv2(folder: Path, codes: int = 16, size: str = "tiny") -> Objective:
    """Masked image modelling with a tokenizer that is written to, or found in, `folder`."""
    if not (folder / "tokenizer.json").exists():
        vqkd(codes).export(str(folder), "tokenizer", None)
    settings = Settings(size=size, input_size=SIDE, mean=MEAN, std=STD, tokenizer=str(folder))
    return build("beitv2", settings)


@cache
def views(images: int) -> Views:
    """Random pixels in patterns of several scales, six patches of each image hidden."""
    draw = torch.Generator().manual_seed(3)
    coarse = torch.rand(images, 3, GRID, GRID, generator=draw)
    fine = torch.rand(images, 3, SIDE, SIDE, generator=draw)
    pixels = 0.6 * torch.nn.functional.interpolate(coarse, (SIDE, SIDE)) + 0.4 * fine
    ranks = torch.rand(images, GRID**2, generator=draw).argsort(dim=1)
    return Views(pixels, (ranks < HIDDEN).view(images, GRID, GRID))


def part(of: Views, index: int, parts: int) -> Views:
    """The `index`-th of equal parts of a batch."""
    size = len(of.pixels) // parts
    which = slice(index * size, (index + 1) * size)
    assert of.masks is not None
    return Views(of.pixels[which], of.masks[which])
