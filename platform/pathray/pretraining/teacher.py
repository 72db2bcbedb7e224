"""The frozen encoder whose patch features the tokenizer learns to restore."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pathray.encoders.network import Output
from pathray.encoders.precision import running
from pathray.encoders.spec import Encoder
from pathray.encoders.torch_encoder import TorchEncoder
from pathray.errors import RequestError, one_line


class Teacher:
    """Patch tokens of an encoder over a grid of `grid` x `grid`.

    An encoder of another patch size is given pixels of another size, so that the grids agree
    (196 px for patches of 14 over 14 x 14): its position embedding is resampled to that grid.
    The encoder is taken over, and runs in its own precision on its own device. Raises
    RequestError for an encoder that has no patch tokens or cannot be given that size.
    """

    def __init__(self, encoder: Encoder, grid: int) -> None:
        if not isinstance(encoder, TorchEncoder):
            raise RequestError(f"teacher {encoder.spec.name!r} has no patch tokens")
        self.encoder, self.digest = encoder, encoder.digest
        self.side = _set_grid(encoder, grid)
        spec = encoder.spec
        mean, std = spec.mean or (0.0, 0.0, 0.0), spec.std or (1.0, 1.0, 1.0)
        self._mean = torch.tensor(mean, device=encoder.device).view(3, 1, 1)
        self._std = torch.tensor(std, device=encoder.device).view(3, 1, 1)
        tokens = self(torch.zeros(1, 3, self.side, self.side, device=encoder.device))
        if tokens.shape[1] != grid**2:
            raise RequestError(
                f"teacher {spec.name!r} gives {tokens.shape[1]} patch tokens at {self.side} px, "
                f"and the tokenizer has {grid} x {grid} patches"
            )
        self.width = int(tokens.shape[2])

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Patch tokens float32 (B, grid * grid, width) of pixels in 0..1, (B, 3, S, S)."""
        device = self.encoder.device
        images = (_resize(pixels.float(), self.side) - self._mean) / self._std
        with (
            torch.autocast(device.type, enabled=False),
            running(self.encoder.precision, device),
        ):
            output = Output(self.encoder.model, images)
            return output.tokens[:, output.prefix :].float()


def _set_grid(encoder: TorchEncoder, grid: int) -> int:
    """Give the encoder that grid; returns the side in pixels that it then wants."""
    model: Any = encoder.model
    name, side = encoder.spec.name, encoder.spec.input_size
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if patch is None or (patch[0] * grid, patch[1] * grid) == (side, side):
        return side
    try:
        model.set_input_size(img_size=(patch[0] * grid, patch[1] * grid))
    except Exception as error:
        raise RequestError(
            f"teacher {name!r} cannot be given {grid} x {grid} patches: {one_line(error, 160)}"
        ) from error
    return int(patch[0] * grid)


def _resize(pixels: Tensor, side: int) -> Tensor:
    if pixels.shape[-1] == side:
        return pixels
    resized = functional.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
    return resized.clamp(0, 1)
