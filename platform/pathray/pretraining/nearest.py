"""Nearest code by cosine, and k-means built on it."""

import torch
from torch import Tensor
from torch.nn import functional

# Tokens compared with the codes at once: the similarities of 4096 x 8192 are 134 MB.
CHUNK = 4096


def nearest(tokens: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """The code of greatest cosine for each token: cosine float32 (N,) and index int64 (N,).

    `tokens` (N, D) and `codes` (K, D) are float32 rows of length one. Memory is that of one
    chunk of tokens against the codes, whatever N is.
    """
    found = [(part @ codes.T).max(dim=1) for part in torch.split(tokens, CHUNK)]
    return torch.cat([best.values for best in found]), torch.cat([best.indices for best in found])


def tally(tokens: Tensor, codes: Tensor, size: int) -> Tensor:
    """Per code, the sum of its tokens and, last, their number: float64 (size, D + 1).

    `tokens` is (N, D), `codes` int64 (N,). In float64 the order of the sum, which depends on
    ranks, micro-batches and a GPU's atomics, vanishes when the result is rounded to float32.
    """
    counted = torch.cat((tokens, tokens.new_ones(len(tokens), 1)), dim=1).double()
    return counted.new_zeros(size, counted.shape[1]).index_add_(0, codes, counted)


def centres(tallied: Tensor, otherwise: Tensor) -> Tensor:
    """The mean direction of each code's tokens, rows of length one, float32 (K, D).

    A code without tokens takes its row of `otherwise`.
    """
    sums, counts = tallied[:, :-1], tallied[:, -1:]
    return torch.where(counts > 0, functional.normalize(sums, dim=1).float(), otherwise)


def kmeans(tokens: Tensor, size: int, iterations: int, seed: int) -> Tensor:
    """Spherical k-means: `size` centres of the tokens (N, D), rows of length one, (size, D).

    The start is a sample of tokens drawn from `seed`; where there are fewer tokens than
    centres, some are drawn again. A centre that loses its tokens stays where it is.
    """
    draw = torch.Generator().manual_seed(seed)
    rounds = -(-size // len(tokens))
    picks = torch.cat([torch.randperm(len(tokens), generator=draw) for _ in range(rounds)])
    found = tokens[picks[:size].to(tokens.device)]
    for _ in range(iterations):
        found = centres(tally(tokens, nearest(tokens, found)[1], size), otherwise=found)
    return found
