"""The tokenizer's codebook: quantisation, and its exponential moving average.

As BEiT v2's reference implementation (microsoft/unilm, beit2) quantises, without its one-hot
matrix of tokens x codes: codes are counted and summed by index.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pathray.pretraining.nearest import centres, kmeans, nearest, tally
from pathray.pretraining.ranks import gather_rows, sum_over_ranks

DECAY = 0.99
COMMITMENT = 1.0
KMEANS_ITERATIONS = 10
"""Of the reference implementation, as is the cosine distance."""

USAGE_WINDOW = 100
"""Steps within which a code counts as used; the moving counts look as far back."""

RESEEDS_PER_STEP = 32
"""Most codes that are set anew after one step."""


class Quantised(NamedTuple):
    """`vectors` float32 (B, P, D): the codes' rows, with the gradient of what was quantised;
    `codes` int64 (B, P); `commitment`: the loss that holds vectors to their codes, scalar.
    """

    vectors: Tensor
    codes: Tensor
    commitment: Tensor


class Codebook(nn.Module):
    """`size` rows of length one in `width` dimensions, learned by moving averages.

    In training mode `forward` tallies what it sees, and `update` after the optimiser's step
    applies it: the sums run over the step's micro-batches and over all ranks, so the codebook
    depends on the effective batch alone. State: `weight` (size, width); `hits` (size,), the
    moving average of tokens a step; `idle` int64 (size,), steps since the last token.

    A code that saw no token for `reseed_after` steps is set to one of the step's tokens that
    lie farthest from their codes, as k-means relocates empty clusters. The reference leaves
    such codes dead; None does so too.
    """

    weight: Tensor
    hits: Tensor
    idle: Tensor

    def __init__(
        self, size: int, width: int, *, decay: float = DECAY, reseed_after: int | None = None
    ) -> None:
        super().__init__()
        self.size, self.decay, self.reseed_after = size, decay, reseed_after
        self.register_buffer("weight", functional.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("hits", torch.zeros(size))
        self.register_buffer("idle", torch.zeros(size, dtype=torch.int64))
        # Of the step that is under way; no buffers, which DDP would overwrite with rank 0's.
        self._tallied: Tensor | None = None
        self._farthest: Tensor | None = None

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantise vectors (B, P, D) of any length, in float32 whatever the autocast."""
        with torch.autocast(vectors.device.type, enabled=False):
            unit = functional.normalize(vectors.float(), dim=-1)
            tokens = unit.detach().flatten(0, 1)
            cosines, codes = nearest(tokens, self.weight)
            rows = self.weight[codes].view_as(unit)
            if self.training:
                self._observe(tokens, cosines, codes)
            commitment = COMMITMENT * functional.mse_loss(unit, rows)
            return Quantised(unit + (rows - unit).detach(), codes.view(unit.shape[:-1]), commitment)

    def _observe(self, tokens: Tensor, cosines: Tensor, codes: Tensor) -> None:
        tallied = tally(tokens, codes, self.size)
        self._tallied = tallied if self._tallied is None else self._tallied + tallied
        if self.reseed_after is not None:
            ranked = torch.cat((cosines[:, None], tokens), dim=1)
            if self._farthest is not None:
                ranked = torch.cat((self._farthest, ranked))
            self._farthest = _farthest(ranked)

    @torch.no_grad()
    def start(self, vectors: Tensor, seed: int) -> None:
        """Set the rows to the k-means centres of all ranks' vectors (N, D).

        Tokens are put in an order of their own first, so that the centres do not depend on
        which rank saw which.
        """
        tokens = gather_rows(functional.normalize(vectors.float(), dim=-1))
        tokens = tokens[tokens[:, 0].argsort(stable=True)]
        self.weight.copy_(kmeans(tokens, self.size, KMEANS_ITERATIONS, seed))

    @torch.no_grad()
    def update(self) -> None:
        """Apply the step's tally: every rank calls it, and every rank gets the same rows."""
        if self._tallied is None:
            return
        tallied = sum_over_ranks(self._tallied)
        counts = tallied[:, -1].float()
        self.hits.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.idle.add_(1).masked_fill_(counts > 0, 0)
        moved = self.weight.lerp(centres(tallied, otherwise=self.weight), 1 - self.decay)
        self.weight.copy_(functional.normalize(moved, dim=1))
        if self.reseed_after is not None and self._farthest is not None:
            self._reseed(_farthest(gather_rows(self._farthest))[:, 1:], self.reseed_after)
        self._tallied = self._farthest = None

    def _reseed(self, tokens: Tensor, after: int) -> None:
        """Give the n-th dead code the n-th token, as far as there are tokens."""
        dead = self.idle >= after
        turn = dead.cumsum(0) - 1
        dead &= turn < len(tokens)
        fresh = tokens[turn.clamp(0, len(tokens) - 1)]
        self.weight.copy_(torch.where(dead[:, None], fresh, self.weight))
        self.idle.masked_fill_(dead, 0)

    def report(self) -> dict[str, float]:
        """Share of codes used within the window, perplexity of the moving counts (as many
        codes, used evenly, would be as informative), and how many codes lie idle.
        """
        used = (self.hits > 0) & (self.idle < USAGE_WINDOW)
        shares = self.hits / self.hits.sum().clamp(min=torch.finfo(torch.float32).tiny)
        return {
            "codebook_usage": used.float().mean().item(),
            "codebook_perplexity": torch.special.entr(shares).sum().exp().item(),
            "codebook_dead": float((~used).sum().item()),
        }


def _farthest(ranked: Tensor) -> Tensor:
    """The rows (cosine, token) of least cosine, least first."""
    least = ranked[:, 0].topk(min(RESEEDS_PER_STEP, len(ranked)), largest=False)
    return ranked[least.indices]
