"""What a pretraining objective offers the training loop, and what it is built from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pathray.encoders.directory import write_directory
from pathray.encoders.spec import RGB, Encoder, EncoderSpec
from pathray.errors import RequestError
from pathray.pretraining.ranks import is_first_rank
from pathray.pretraining.sizes import PATCH, Size, sizes
from pathray.pretraining.vit import Shape
from pathray.registry import Registry


@dataclass(frozen=True)
class Views:
    """A micro-batch. `pixels` is float32 RGB in 0..1 (B, 3, S, S), augmented, not normalised;
    `masks` is bool (B, grid, grid), True where a patch is hidden, for objectives that mask.
    """

    pixels: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an objective is built from. `mean` and `std` are the data set's, RGB in 0..1.

    `drop_path` is 0 for BEiT v2's schedule of 300 epochs and 0.1 for that of 1600;
    `layer_scale` None is the size's. `tokenizer` is the URI of a tokenizer directory, for
    `beitv2`; `teacher` a loaded encoder with patch tokens, for `vqkd`, whose codebook has
    `codebook_size` rows of `code_width` and whose decoder `decoder_depth` blocks (3 or 1 in
    the paper). A code without tokens for `reseed_after` steps is set anew; None: never.
    """

    size: str = "base"
    input_size: int = 224
    mean: RGB
    std: RGB
    seed: int = 0
    drop_path: float = 0.0
    layer_scale: float | None = None
    tokenizer: str | None = None
    teacher: Encoder | None = None
    codebook_size: int = 8192
    code_width: int = 32
    decoder_depth: int = 3
    reseed_after: int | None = 200

    @property
    def shape(self) -> Shape:
        """The encoder's shape. Raises RequestError when no whole number of patches fits."""
        size = self.numbers
        if self.input_size % PATCH:
            raise RequestError(f"an input of {self.input_size} px is no multiple of {PATCH} px")
        return Shape(
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            grid=self.input_size // PATCH,
            patch=PATCH,
        )

    @property
    def numbers(self) -> Size:
        """The numbers that belong to the size. Raises RequestError for an unknown one."""
        return sizes.get(self.size)


class Objective(nn.Module, ABC):
    """A network with its loss. Its parameters and buffers are all that is trained and saved;
    a frozen network that teaches it is neither. Devices, parallelism and autocast are the
    caller's: `to` moves the whole objective, a frozen network too.
    """

    input_size: int
    """Side in pixels of the crops it wants."""
    grid: int
    """Patches along a side: masks are (B, grid, grid)."""
    guide: str
    """Digest of the frozen network that it learns from: a resumed run must find the same."""

    @abstractmethod
    def forward(self, views: Views) -> dict[str, Tensor]:
        """`loss`, the scalar to be minimised, a mean over the micro-batch; and other scalars,
        detached, by the names they are logged under.
        """

    def warm_start(self, views: Views) -> None:
        """Prepare from this rank's first views, once before step 0; all ranks call it, before
        parameters are sharded.
        """

    def finish_step(self) -> None:
        """Do what follows the optimiser's step; all ranks call it."""

    def report(self) -> dict[str, float]:
        """Figures worth logging now and then, equal on all ranks."""
        return {}

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, which FSDP2 wraps one by one."""

    @abstractmethod
    def features(self, pixels: Tensor) -> Tensor:
        """The embeddings that the exported encoder would give, float32 (B, width), of pixels in
        0..1, (B, 3, S, S). Without gradient. FSDP2 must be told that it runs the network
        (`register_fsdp_forward_method`).
        """

    @abstractmethod
    def encoder(self, name: str, mpp: float | None) -> tuple[EncoderSpec, dict[str, Tensor]]:
        """The encoder learned so far, as `pathray.encoders.directory.write_directory` takes it:
        tensors are copies on the CPU. `mpp` is microns per pixel of the tiles it learned from.

        With sharded parameters all ranks must call it.
        """

    def export(self, uri: str, name: str, mpp: float | None) -> None:
        """Write what was learned to the directory `uri`: all ranks call it, the first writes."""
        spec, tensors = self.encoder(name, mpp)
        if is_first_rank():
            write_directory(uri, spec, tensors)


Builder = Callable[[Settings], Objective]
objectives: Registry[Builder] = Registry("pretraining objective")


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's state, gathered from FSDP2's shards, as copies on the CPU."""
    from torch.distributed.tensor import DTensor

    state = {}
    for name, tensor in module.state_dict().items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        state[name] = whole.detach().to("cpu", copy=True)
    return state


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch draws from `seed` on the CPU; outside, its generators are as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
