"""Operations on the segments of a packed batch: its bags, one behind the other, unpadded.

T tiles, B bags, C columns, H features, as suffixes of names. Sums are accumulated in float32
(float64 for float64 values) whatever the values are stored in.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

CHUNK_CPU = 4096
CHUNK_GPU = 65536
FEW_BAGS = 64
"""Up to so many bags in a chunk are summed by one matrix product, more by scattered adds."""


def chunk_rows(device: torch.device) -> int:
    """Rows worked on at a time: on a CPU they and their gradients stay in the cache."""
    return CHUNK_CPU if device.type == "cpu" else CHUNK_GPU


def wide(values: Tensor) -> Tensor:
    """The values in the type sums are made in."""
    return values if values.dtype == torch.float64 else values.float()


@dataclass(frozen=True, eq=False)
class Segments:
    """Where the bags of a batch lie.

    `offsets` (B + 1,) int64 on the CPU: bag i is rows offsets[i] to offsets[i + 1]. `device`
    is where the values are. Raises ValueError for a bag without tiles.
    """

    offsets: Tensor
    device: torch.device

    def __post_init__(self) -> None:
        empty = (self.sizes <= 0).nonzero().flatten().tolist()
        if empty or len(self.offsets) < 2 or self.offsets[0] != 0:
            raise ValueError(
                f"bag {empty[0]} of the batch has no tiles: leave it out"
                if empty
                else "offsets begin at 0 and hold at least one bag"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def sizes(self) -> Tensor:
        """Tiles of each bag (B,), on the CPU."""
        return self.offsets.diff()

    @cached_property
    def ids(self) -> Tensor:
        """The bag of each tile (T,), on the device."""
        bags = torch.arange(len(self), device=self.device)
        return bags.repeat_interleave(self.sizes.to(self.device), output_size=int(self.offsets[-1]))

    @cached_property
    def ends(self) -> Tensor:
        """The row behind each bag (B,), on the device."""
        return self.offsets[1:].to(self.device)

    def sum(self, values_tc: Tensor) -> Tensor:
        """Sums over each bag: (T, C) -> (B, C)."""
        values = wide(values_tc)
        return values.new_zeros(len(self), *values.shape[1:]).index_add(0, self.ids, values)

    def max(self, values_tc: Tensor) -> Tensor:
        """Maxima over each bag: (T, C) -> (B, C). Equal maxima share the gradient."""
        index = self.ids[:, None].expand_as(values_tc)
        least = values_tc.new_zeros(len(self), values_tc.shape[1])
        return least.scatter_reduce(0, index, values_tc, "amax", include_self=False)

    def softmax(self, scores_tc: Tensor) -> Tensor:
        """Softmax over the tiles of each bag, every column by itself: (T, C) -> (T, C)."""
        scores = wide(scores_tc)
        powers = (scores - self.max(scores.detach())[self.ids]).exp()
        return powers / self.sum(powers)[self.ids]

    def mean(self, values_th: Tensor) -> Tensor:
        """Means over each bag: (T, H) -> (B, H)."""
        share = (1 / self.sizes.to(self.device, wide(values_th).dtype))[self.ids, None]
        return self.pool(share, values_th)[0].squeeze(1)

    def pool(
        self, weights_tc: Tensor, values_th: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Weighted sums over each bag, and chosen rows of the values.

        weights (T, C), values (T, H) -> (B, C, H) and values[rows] (len(rows), H). Both
        together, so that their gradients need only one array as large as the values.
        """
        chosen = torch.empty(0, dtype=torch.int64, device=self.device) if rows is None else rows
        pooled, picked = _Pool.apply(wide(weights_tc), values_th, chosen, self)
        return pooled, picked

    def extremes(self, scores_t: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The rows of the k highest and the k lowest scores (T,) of each bag, fewer in a
        smaller bag; each bag's after another. Of equal scores the first tile counts as lower.
        """
        order = self._by_score(scores_t)
        most = self.sizes.clamp(max=k).to(self.device)
        step = torch.arange(k, device=self.device)
        held = step < most[:, None]
        starts = self.ends - self.sizes.to(self.device)
        highest = order[(self.ends[:, None] - 1 - step)[held]]
        return highest, order[(starts[:, None] + step)[held]]

    def _by_score(self, scores_t: Tensor) -> Tensor:
        """Rows sorted by bag, then by score: one sort of integers that hold both."""
        bits = scores_t.detach().float().view(torch.int32).long()
        # The bits of negative floats run backwards.
        ranks = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
        return torch.sort((self.ids << 32) + ranks, stable=True).indices

    def spans(self) -> list[tuple[slice, int, int]]:
        """Rows in chunks, each with its first bag and the bag behind its last."""
        step, total = chunk_rows(self.device), int(self.offsets[-1])
        starts = range(0, total, step)
        stops = [min(start + step, total) for start in starts]
        first = torch.searchsorted(self.offsets, torch.tensor(starts), right=True) - 1
        behind = torch.searchsorted(self.offsets, torch.tensor(stops))
        return [
            (slice(start, stop), a, b)
            for start, stop, a, b in zip(
                starts, stops, first.tolist(), behind.tolist(), strict=True
            )
        ]


class _Pool(torch.autograd.Function):
    """`Segments.pool`, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, values: Tensor, rows: Tensor, segments: Segments
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weights, values, rows)
        ctx.segments = segments
        shape = (len(segments), weights.shape[1], values.shape[1])
        pooled = weights.new_zeros(shape)
        for span, first, behind in segments.spans():
            local = segments.ids[span] - first
            part = pooled[first:behind]
            if behind - first <= FEW_BAGS:
                part += _by_product(weights[span], values[span], local, behind - first)
            else:
                part.index_add_(0, local, weights[span, :, None] * values[span, None, :])
        return pooled, values[rows]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_pooled, grad_rows = grads
        weights, values, rows = ctx.saved_tensors
        grad_weights, grad_values = torch.empty_like(weights), torch.empty_like(values)
        narrow_grad = grad_pooled.to(values.dtype)
        for span, first, behind in ctx.segments.spans():
            if behind - first == 1:
                grad = narrow_grad[first]
                grad_weights[span] = values[span] @ grad.T
                torch.mm(weights[span].to(values.dtype), grad, out=grad_values[span])
                continue
            grad = narrow_grad[ctx.segments.ids[span]]
            grad_weights[span] = (grad * values[span, None, :]).sum(2)
            grad_values[span] = (weights[span, :, None].to(values.dtype) * grad).sum(1)
        grad_values.index_add_(0, rows, grad_rows.to(values.dtype))
        return grad_weights, grad_values, None, None


def _by_product(weights: Tensor, values: Tensor, local: Tensor, bags: int) -> Tensor:
    """Weighted sums of a chunk that holds few bags: a (bags * C, n) by (n, H) product."""
    spread = weights.new_zeros(bags, weights.shape[1], len(local))
    spread[local, :, torch.arange(len(local), device=local.device)] = weights
    return (spread.flatten(0, 1) @ values.to(weights.dtype)).view(bags, weights.shape[1], -1)
