"""Objective `vqkd`: learn the tokenizer by restoring a teacher's patch features from codes."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from pathray.encoders.architecture import TimmModel
from pathray.encoders.directory import write_directory
from pathray.encoders.spec import EncoderSpec, unreleased
from pathray.errors import RequestError
from pathray.pretraining.codebook import Codebook
from pathray.pretraining.objective import (
    Objective,
    Settings,
    Views,
    objectives,
    seeded,
    whole_state,
)
from pathray.pretraining.ranks import is_first_rank
from pathray.pretraining.teacher import Teacher
from pathray.pretraining.tokenizer import Reconstruction, TrainableTokenizer
from pathray.pretraining.tokenizer_directory import write_tokenizer

# Images that pass the encoder at once when the codebook is started.
_START_BATCH = 32


class Vqkd(Objective):
    """`network` restores what the teacher, frozen, says of the same pixels."""

    def __init__(self, network: TrainableTokenizer, teacher: Teacher, seed: int) -> None:
        super().__init__()
        self.input_size, self.grid = network.shape.input_size, network.grid
        self.guide, self.seed = teacher.digest, seed
        self.network = network
        self.teacher = teacher

    def forward(self, views: Views) -> dict[str, Tensor]:
        """The distillation loss of the views."""
        return distillation_loss(self.network(views.pixels), self.teacher(views.pixels))

    @torch.no_grad()
    def warm_start(self, views: Views) -> None:
        """Start the codebook by k-means over the first views of all ranks."""
        parts = [self.network.vectors(part) for part in torch.split(views.pixels, _START_BATCH)]
        self.network.quantize.start(torch.cat(parts).flatten(0, 1), self.seed)

    def finish_step(self) -> None:
        """Move the codebook by what the step's micro-batches held, on all ranks."""
        self.network.quantize.update()

    def report(self) -> dict[str, float]:
        """Usage, perplexity and dead codes of the codebook."""
        return self.network.quantize.report()

    def blocks(self) -> list[nn.Module]:
        """The encoder's blocks and the decoder's."""
        return [*self.network.encoder.blocks, *self.network.decoder.blocks]

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """As `Objective.features`: the mean of the encoder's patch tokens, behind its norm."""
        return self.network.tokens(pixels).mean(dim=1).float()

    def encoder(self, name: str, mpp: float | None) -> tuple[EncoderSpec, dict[str, Tensor]]:
        """The tokenizer's encoder, which is a tile encoder too."""
        return self._as_encoder(whole_state(self.network), name, mpp)

    def _as_encoder(
        self, state: dict[str, Tensor], name: str, mpp: float | None
    ) -> tuple[EncoderSpec, dict[str, Tensor]]:
        prefix = "encoder."
        tensors = {
            key.removeprefix(prefix).replace("fc_norm.", "norm."): tensor
            for key, tensor in state.items()
            if key.startswith(prefix)
        }
        spec = unreleased(
            name=name,
            builder=TimmModel("beitv2_base_patch16_224", self._architecture()),
            input_size=self.input_size,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            pooling="mean_patch",
            width=self.network.shape.width,
            mpp=mpp,
        )
        return spec, tensors

    def _architecture(self) -> dict[str, object]:
        shape = self.network.shape
        return {
            "img_size": shape.input_size,
            "patch_size": shape.patch,
            "embed_dim": shape.width,
            "depth": shape.depth,
            "num_heads": shape.heads,
            "mlp_ratio": shape.mlp_ratio,
            "use_abs_pos_emb": True,
            "use_rel_pos_bias": False,
            "use_fc_norm": False,
            "init_values": 0.0,
        }

    def export(self, uri: str, name: str, mpp: float | None) -> None:
        """Write the tokenizer directory and, beside it, the encoder directory."""
        state = whole_state(self.network)
        if is_first_rank():
            write_tokenizer(uri, self.network.shape, state)
            write_directory(uri, *self._as_encoder(state, name, mpp))


def distillation_loss(restored: Reconstruction, target: Tensor) -> dict[str, Tensor]:
    """Mean of 1 - cosine to the teacher's features (B, P, width), plus the commitment."""
    cosine = functional.cosine_similarity(restored.features.float(), target.float(), dim=-1)
    distance, commitment = (1 - cosine).mean(), restored.quantised.commitment
    return {
        "loss": distance + commitment,
        "loss_distillation": distance.detach(),
        "loss_commitment": commitment.detach(),
    }


@objectives.register("vqkd")
def build(settings: Settings) -> Vqkd:
    """VQ-KD of `settings.teacher`, weights drawn from the seed."""
    if settings.teacher is None:
        raise RequestError("vqkd needs a teacher: --teacher NAME of an encoder with patch tokens")
    shape = settings.shape
    teacher = Teacher(settings.teacher, shape.grid)
    decoder = replace(shape, depth=settings.decoder_depth, patch=1, channels=settings.code_width)
    with seeded(settings.seed):
        codebook = Codebook(
            settings.codebook_size, settings.code_width, reseed_after=settings.reseed_after
        )
        network = TrainableTokenizer(
            shape, codebook, decoder, teacher.width, drop_path=settings.drop_path
        )
    return Vqkd(network, teacher, settings.seed)
