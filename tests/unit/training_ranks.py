"""A few steps of an objective on some ranks, as a training loop takes them."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import small_objectives
import torch
from torch import Tensor, distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

STEPS, BATCH = 3, 8


def train(name: str, folder: Path, rank: int, ranks: int, micro_batches: int) -> dict[str, Tensor]:
    """The state after `STEPS` steps on this rank's share of every batch of `BATCH` images."""
    torch.manual_seed(rank)
    objective = (
        small_objectives.beitv2(folder)
        if name == "beitv2"
        else small_objectives.vqkd(codes=24, reseed_after=2)
    )
    batches = small_objectives.views(BATCH * STEPS)
    wrapped: Any = DistributedDataParallel(objective) if ranks > 1 else objective
    optimiser = torch.optim.SGD(objective.parameters(), lr=0.05)
    objective.train()
    for step in range(STEPS):
        batch = small_objectives.part(batches, step, STEPS)
        mine = small_objectives.part(batch, rank, ranks)
        if step == 0:
            objective.warm_start(mine)
        for index in range(micro_batches):
            last = index == micro_batches - 1
            with nullcontext() if last or ranks == 1 else wrapped.no_sync():
                loss = wrapped(small_objectives.part(mine, index, micro_batches))["loss"]
                (loss / micro_batches).backward()
        optimiser.step()
        optimiser.zero_grad()
        objective.finish_step()
    return {key: value.detach().clone() for key, value in objective.state_dict().items()}


def train_on_two_ranks(name: str, folder: Path, micro_batches: int) -> list[dict[str, Tensor]]:
    """The state of each of two processes that train together over gloo."""
    arguments = (name, folder, micro_batches)
    multiprocessing.spawn(_rank, arguments, nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


def _rank(rank: int, name: str, folder: Path, micro_batches: int) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting-{name}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    torch.save(train(name, folder, rank, 2, micro_batches), folder / f"rank{rank}.pt")
    distributed.destroy_process_group()
