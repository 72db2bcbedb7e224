"""Tensors of all ranks of a data-parallel run. Without one, a rank is alone."""

import torch
from torch import Tensor, distributed


def world_size() -> int:
    """How many ranks train together."""
    alone = not (distributed.is_available() and distributed.is_initialized())
    return 1 if alone else distributed.get_world_size()


def is_first_rank() -> bool:
    """Whether this rank is the one that writes."""
    return world_size() == 1 or distributed.get_rank() == 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum over ranks, on every rank, in place."""
    if world_size() > 1:
        distributed.all_reduce(tensor)
    return tensor


def gather_rows(rows: Tensor) -> Tensor:
    """The rows (N, D) of all ranks on every rank, in the order of ranks; N may differ."""
    if world_size() == 1:
        return rows
    counts = rows.new_zeros(world_size(), dtype=torch.int64)
    counts[distributed.get_rank()] = len(rows)
    lengths = sum_over_ranks(counts).tolist()
    padded = rows.new_zeros(max(lengths), *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in lengths]
    distributed.all_gather(gathered, padded)
    return torch.cat([part[:n] for part, n in zip(gathered, lengths, strict=True)])
