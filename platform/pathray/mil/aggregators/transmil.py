"""TransMIL: self-attention among a bag's tiles (Shao et al., NeurIPS 2021).

Tiles are laid on a square in their order, its last row filled from the first tiles, as the
paper defines it: a bag is padded up to its own square, never to another bag. Attention is
Nystrom's approximation (Xiong et al., AAAI 2021).
"""

from math import ceil, sqrt

import torch
from torch import Tensor, nn

from pathray.mil.aggregator import Aggregated, Aggregator, AggregatorSettings, aggregators, linear
from pathray.mil.segments import Segments

HEADS = 8
LANDMARKS = 256
PSEUDOINVERSE_STEPS = 6
VALUE_KERNEL = 33
ATTENTION_DROPOUT = 0.1


@aggregators.register("transmil")
class TransMIL(Aggregator):
    """Two layers of attention with a position encoding between them; the class token decides.

    Raw attention is how the last layer's class token attends to each tile, the mean over
    heads; Nystrom's may be slightly negative. Bags go one after another: a bag's arithmetic
    does not depend on the others, and its sequence is long enough to fill the machine.
    """

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__(settings)
        width = settings.hidden
        self.hidden = linear(settings.dim, width)
        self.class_token = nn.Parameter(torch.randn(1, width))
        self.first, self.second = _Layer(width), _Layer(width)
        self.positions = _Positions(width)
        self.norm = nn.LayerNorm(width)
        self.classifier = linear(width, settings.outputs)

    def aggregate(self, features: Tensor, segments: Segments) -> Aggregated:
        """See `Aggregator.forward`."""
        hidden = torch.relu(self.hidden(features))
        found = [self._bag(bag) for bag in torch.split(hidden, segments.sizes.tolist())]
        tokens = torch.stack([token for token, _ in found])
        attention = torch.cat([attended for _, attended in found]).float()
        return Aggregated(self.classifier(self.norm(tokens)).float(), attention, segments)

    def normalised(self, found: Aggregated) -> Tensor:
        """Negative attention is 0; the rest are shares of the bag."""
        positive = found.attention.clamp(min=0)
        totals = found.segments.sum(positive)[found.segments.ids]
        return positive / totals.clamp(min=torch.finfo(positive.dtype).tiny)

    def _bag(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """(N, width) -> class token (width,) and its attention (N, 1)."""
        count = len(tiles)
        side = ceil(sqrt(count))
        square = torch.cat([tiles, tiles[: side * side - count]])
        sequence, _ = self.first(torch.cat([self.class_token.to(tiles.dtype), square]))
        sequence, attended = self.second(self.positions(sequence, side))
        # A tile that also fills the last row has the attention of both its places.
        weights, again = attended[1 : 1 + count], attended[1 + count :]
        weights = torch.cat([weights[: len(again)] + again, weights[len(again) :]])
        return sequence[0], weights[:, None]


class _Layer(nn.Module):
    """sequence + attention(norm(sequence)), and the first token's attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = NystromAttention(width)

    def forward(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
        mixed, attended = self.attention(self.norm(sequence))
        return sequence + mixed, attended


class _Positions(nn.Module):
    """PPEG: depthwise convolutions over the square of tiles; the class token passes by."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
            for kernel in (7, 5, 3)
        )

    def forward(self, sequence: Tensor, side: int) -> Tensor:
        square = sequence[1:].T.reshape(1, -1, side, side)
        mixed = square + sum(convolution(square) for convolution in self.convolutions)
        return torch.cat([sequence[:1], mixed.flatten(2)[0].T])


class NystromAttention(nn.Module):
    """Multi-head attention over (N, width) through landmarks, the means of equal runs.

    With no more tokens than landmarks it is computed exactly. A depthwise convolution of the
    values is added, as the paper has it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % HEADS:
            raise ValueError(f"TransMIL's hidden width {width} is no multiple of {HEADS} heads")
        self.projections = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Sequential(nn.Linear(width, width), nn.Dropout(ATTENTION_DROPOUT))
        kernel = (VALUE_KERNEL, 1)
        padding = (VALUE_KERNEL // 2, 0)
        self.local = nn.Conv2d(HEADS, HEADS, kernel, padding=padding, groups=HEADS, bias=False)

    def forward(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
        """-> (N, width), and the first token's attention (N,), the mean over heads."""
        count, width = sequence.shape
        projected = self.projections(sequence).view(count, 3, HEADS, -1).permute(1, 2, 0, 3)
        query, key, value = projected
        query = query * (width // HEADS) ** -0.5
        mixed, first = _mix(query, key, value)
        mixed = mixed + self.local(value[None])[0]
        return self.output(mixed.transpose(0, 1).reshape(count, width)), first.mean(0)


def _mix(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Heads of (N, d) -> mixed values (heads, N, d) and the first token's weights (heads, N)."""
    count = query.shape[1]
    if count <= LANDMARKS:
        weights = (query @ key.mT).softmax(-1)
        return weights @ value, weights[:, 0].detach()
    runs = Segments((torch.arange(LANDMARKS + 1) * count) // LANDMARKS, query.device)
    query_marks, key_marks = (_run_means(each, runs) for each in (query, key))
    left = (query @ key_marks.mT).softmax(-1)
    right = (query_marks @ key.mT).softmax(-1)
    middle = _pseudoinverse((query_marks @ key_marks.mT).float().softmax(-1)).to(left.dtype)
    mixed = left @ (middle @ (right @ value))
    return mixed, (left[:, :1] @ middle @ right)[:, 0].detach()


def _run_means(heads: Tensor, runs: Segments) -> Tensor:
    """Means over runs of tokens: (heads, N, d) -> (heads, LANDMARKS, d)."""
    flat = heads.transpose(0, 1).flatten(1)
    means = runs.sum(flat) / runs.sizes.to(flat.device)[:, None]
    return means.to(heads.dtype).view(len(runs), heads.shape[0], -1).transpose(0, 1)


def _pseudoinverse(matrix: Tensor) -> Tensor:
    """The iteration of the Nystrom paper (its eq. 11) for a batch of square matrices."""
    with torch.autocast(matrix.device.type, enabled=False):
        identity = torch.eye(matrix.shape[-1], device=matrix.device, dtype=matrix.dtype)
        columns, rows = matrix.abs().sum(-2).amax(-1), matrix.abs().sum(-1).amax(-1)
        inverse = matrix.mT / (columns * rows)[:, None, None]
        for _ in range(PSEUDOINVERSE_STEPS):
            product = matrix @ inverse
            inner = 15 * identity - product @ (7 * identity - product)
            inverse = 0.25 * inverse @ (13 * identity - product @ inner)
        return inverse
