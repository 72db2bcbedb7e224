"""The visual tokenizer of BEiT v2: an image becomes a grid of codes (VQ-KD)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pathray.pretraining.codebook import Codebook, Quantised
from pathray.pretraining.vit import INIT_STD, Shape, patch_tokens, plain_vit


class Tokenizer(nn.Module):
    """Encoder, projection to the codebook's width and quantiser: `codes` is what BEiT v2 needs.

    Parameters have the names of the reference implementation
    (microsoft/unilm, beit2) but for the quantiser's, which are the buffers of `Codebook`.
    Images are RGB in 0..1; the network sees them in -1..1.
    """

    def __init__(self, shape: Shape, codebook: Codebook, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.shape, self.grid = shape, shape.grid
        self.encoder = plain_vit(shape, drop_path)
        self.encode_task_layer = task_layer(shape.width, codebook.weight.shape[1])
        self.quantize = codebook

    def vectors(self, pixels: Tensor) -> Tensor:
        """What is quantised, float32 (B, P, D): the projection runs in float32 always."""
        tokens = self.tokens(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            projected: Tensor = self.encode_task_layer(tokens.float())
        return projected

    def tokens(self, pixels: Tensor) -> Tensor:
        """The encoder's patch tokens behind its norm, (B, P, width), row by row."""
        return patch_tokens(self.encoder, 2 * pixels - 1)

    @torch.no_grad()
    def codes(self, pixels: Tensor) -> Tensor:
        """Codes int64 (B, P), row by row, of pixels (B, 3, S, S)."""
        codes: Tensor = self.quantize(self.vectors(pixels)).codes
        return codes


class Reconstruction(NamedTuple):
    """`features` (B, P, teacher's width), restored from the codes, and the quantisation."""

    features: Tensor
    quantised: Quantised


class TrainableTokenizer(Tokenizer):
    """A tokenizer with the decoder that training needs: from the codes, it restores the patch
    features of a teacher that are `out` wide. `decoder_shape` is over the grid of codes.
    """

    def __init__(
        self,
        shape: Shape,
        codebook: Codebook,
        decoder_shape: Shape,
        out: int,
        *,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(shape, codebook, drop_path=drop_path)
        self.decoder = plain_vit(decoder_shape)
        self.decode_task_layer = task_layer(decoder_shape.width, out)

    def forward(self, pixels: Tensor) -> Reconstruction:
        """The features restored from pixels (B, 3, S, S) in 0..1."""
        quantised: Quantised = self.quantize(self.vectors(pixels))
        image = quantised.vectors.mT.reshape(len(pixels), -1, self.grid, self.grid)
        return Reconstruction(self.decode_task_layer(patch_tokens(self.decoder, image)), quantised)


def task_layer(width: int, out: int) -> nn.Sequential:
    """Linear, tanh, Linear."""
    first, second = nn.Linear(width, width), nn.Linear(width, out)
    for layer in (first, second):
        nn.init.trunc_normal_(layer.weight, std=INIT_STD)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.Tanh(), second)
