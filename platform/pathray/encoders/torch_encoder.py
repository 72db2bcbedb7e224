"""An encoder that is a torch network: preprocessing, forward pass, pooling."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathray.encoders.network import Output
from pathray.encoders.pooling import poolings
from pathray.encoders.precision import prepare, running
from pathray.encoders.preprocess import Preprocess
from pathray.encoders.spec import EncoderSpec, Precision
from pathray.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import nn


class TorchEncoder:
    """Implements `Encoder`. `model` holds float32 weights and is taken over: cast and moved."""

    def __init__(
        self,
        spec: EncoderSpec,
        model: "nn.Module",
        digest: str,
        precision: Precision,
        device: "torch.device",
    ) -> None:
        self.spec = spec
        self.digest = digest
        self.precision = precision
        self.dim = spec.width
        self.input_size = spec.input_size
        self.mpp = spec.mpp
        self.device = device
        layout = _memory_format(model)
        self.model = prepare(model, precision).to(device).to(memory_format=layout)
        self._preprocess = Preprocess(spec, device, layout)
        self._pool = poolings.get(spec.pooling)

    def __call__(self, tiles: "NDArray[np.uint8] | torch.Tensor") -> NDArray[np.float32]:
        """Float32 (B, dim) of uint8 (B, H, W, 3). Raises ValueError for other arrays."""
        import torch

        if len(tiles) == 0:
            return np.empty((0, self.dim), np.float32)
        with torch.inference_mode(), running(self.precision, self.device):
            features = self._pool(Output(self.model, self._preprocess(tiles)))
        if features.shape[1:] != (self.dim,):
            raise RequestError(
                f"encoder {self.spec.name!r} gives {tuple(features.shape[1:])}, not ({self.dim},)"
            )
        return features.float().cpu().numpy()

    def patch_tokens(self, tiles: "NDArray[np.uint8] | torch.Tensor") -> NDArray[np.float32]:
        """Float32 (B, h, w, D): the patch tokens that the pooling rules see, as a square grid.

        Raises RequestError when the network has no patch tokens.
        """
        import torch

        with torch.inference_mode(), running(self.precision, self.device):
            output = Output(self.model, self._preprocess(tiles))
            patches = output.tokens[:, output.prefix :]
        side = round(patches.shape[1] ** 0.5)
        if side * side != patches.shape[1]:
            raise RequestError(f"encoder {self.spec.name!r} has no square grid of patch tokens")
        return patches.float().reshape(len(patches), side, side, -1).cpu().numpy()


def _memory_format(model: "nn.Module") -> "torch.memory_format":
    """Channels last for convolutional networks (a ResNet-50 in bf16 on a CPU gains 1.4 times).

    A vision transformer has one convolution, and loses by it.
    """
    import torch

    kinds = [type(module) for module in model.modules()]
    convolutional = kinds.count(torch.nn.Conv2d) > kinds.count(torch.nn.Linear)
    return torch.channels_last if convolutional else torch.contiguous_format
