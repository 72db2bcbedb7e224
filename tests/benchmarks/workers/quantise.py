"""A training step of the codebook: `quantise.py WAY TOKENS ROUNDS`, its time and memory."""

import resource
import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pathray.pretraining.codebook import DECAY, Codebook
from tests.benchmarks.workers.timing import best, tell

CODES, WIDTH = 8192, 32


def indexed(vectors: Tensor) -> Callable[[], object]:
    """Ours: quantise, tally by index, move the codebook."""
    codebook = Codebook(CODES, WIDTH).to(vectors.device).train()

    def step() -> None:
        codebook(vectors).commitment.backward()
        codebook.update()

    return step


def one_hot(vectors: Tensor) -> Callable[[], object]:
    """The same by the formula: distances and a one-hot matrix, tokens x codes."""
    weight = functional.normalize(torch.randn(CODES, WIDTH, device=vectors.device), dim=1)

    def step() -> None:
        unit = functional.normalize(vectors, dim=-1)
        tokens = unit.detach()[0]
        squares = tokens.square().sum(1, keepdim=True) + weight.square().sum(1)
        codes = (squares - 2 * tokens @ weight.T).argmin(1)
        hot = functional.one_hot(codes, CODES).to(tokens.dtype)
        counts = hot.sum(0)
        means = functional.normalize(hot.T @ tokens / counts.clamp(min=1)[:, None], dim=1)
        new = torch.where(counts[:, None] > 0, means, weight)
        functional.mse_loss(unit[0], weight[codes]).backward()
        weight.mul_(DECAY).add_(new, alpha=1 - DECAY).copy_(functional.normalize(weight, dim=1))

    return step


WAYS = {"indexed": indexed, "one_hot": one_hot}


def main(way: str, tokens: int, rounds: int) -> None:
    """Peak memory is what the steps add to what was held before."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    warm = torch.randn(1, 64, WIDTH, device=device, requires_grad=True)
    WAYS[way](warm)()
    vectors = torch.randn(1, tokens, WIDTH, device=device, requires_grad=True)
    step, before = WAYS[way](vectors), _peak(device)

    def timed() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    seconds = best(timed, rounds + 1)
    tell(seconds=seconds, bytes=_peak(device) - before, device=device.type)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
