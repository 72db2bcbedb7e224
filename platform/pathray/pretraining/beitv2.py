"""Objective `beitv2`: predict the tokenizer's codes of hidden patches."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pathray.encoders.inference import beit_architecture
from pathray.encoders.naming import to_timm
from pathray.encoders.spec import RGB, EncoderSpec, unreleased
from pathray.errors import RequestError
from pathray.pretraining.masked_image_model import MaskedImageModel, masked_loss
from pathray.pretraining.objective import (
    Objective,
    Settings,
    Views,
    objectives,
    seeded,
    whole_state,
)
from pathray.pretraining.sizes import HEAD_LAYERS
from pathray.pretraining.tokenizer import Tokenizer
from pathray.pretraining.tokenizer_directory import read_tokenizer

_PRETRAINING_ONLY = ("mask_token", "cls_pt_layers.", "norm.", "lm_head.")


class BeitV2(Objective):
    """`network` learns to name the codes that the frozen `tokenizer` gives the same pixels."""

    def __init__(
        self, network: MaskedImageModel, tokenizer: Tokenizer, guide: str, mean: RGB, std: RGB
    ) -> None:
        super().__init__()
        shape = network.shape
        if (tokenizer.shape.input_size, tokenizer.grid) != (shape.input_size, shape.grid):
            raise RequestError(
                f"the tokenizer wants {tokenizer.shape.input_size} px in patches of "
                f"{tokenizer.shape.patch}, and the encoder {shape.input_size} px in patches of "
                f"{shape.patch}: pretrain both at one input size"
            )
        self.input_size, self.grid, self.guide = shape.input_size, shape.grid, guide
        self.mean, self.std = mean, std
        self.network = network
        self._frozen = (tokenizer.eval().requires_grad_(False),)  # in a tuple torch does not see it
        self.register_buffer("_mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BeitV2":
        """torch's way of moving a module: the tokenizer moves along."""
        self._frozen[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def forward(self, views: Views) -> dict[str, Tensor]:
        """The masked loss of the views, which must have masks."""
        if views.masks is None:
            raise ValueError("masked image modelling wants views with masks")
        hidden = views.masks.flatten(1)
        codes = self._frozen[0].codes(views.pixels)[hidden]
        return masked_loss(self.network(self._normalise(views.pixels), hidden), codes)

    def _normalise(self, pixels: Tensor) -> Tensor:
        return (pixels - self.get_buffer("_mean")) / self.get_buffer("_std")

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """As `Objective.features`: BEPH's pooling of the last layer."""
        return self.network.features(self._normalise(pixels))

    def blocks(self) -> list[nn.Module]:
        """The backbone's blocks and those of the aggregation."""
        return [*self.network.blocks, *self.network.cls_pt_layers]

    def encoder(self, name: str, mpp: float | None) -> tuple[EncoderSpec, dict[str, Tensor]]:
        """The backbone without what only pretraining needs, pooled as BEPH is."""
        state = whole_state(self.network)
        tensors = to_timm({n: t for n, t in state.items() if not n.startswith(_PRETRAINING_ONLY)})
        spec = unreleased(
            name=name,
            builder=beit_architecture(tensors),
            input_size=self.input_size,
            mean=self.mean,
            std=self.std,
            pooling="mean_patch_layernorm",
            width=self.network.shape.width,
            mpp=mpp,
        )
        return spec, tensors


@objectives.register("beitv2")
def build(settings: Settings) -> BeitV2:
    """BEiT v2 from `settings.tokenizer`, weights drawn from the seed."""
    if settings.tokenizer is None:
        raise RequestError("beitv2 needs a tokenizer: --tokenizer URI of an exported vqkd")
    tokenizer, digest = read_tokenizer(settings.tokenizer)
    numbers = settings.numbers
    with seeded(settings.seed):
        network = MaskedImageModel(
            settings.shape,
            vocabulary=tokenizer.quantize.size,
            early_layer=numbers.early_layer,
            head_layers=HEAD_LAYERS,
            layer_scale=numbers.layer_scale
            if settings.layer_scale is None
            else settings.layer_scale,
            drop_path=settings.drop_path,
        )
    return BeitV2(network, tokenizer, digest, settings.mean, settings.std)
