"""A few steps of an objective on some ranks, as a training loop takes them."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import small_objectives
import torch
from torch import Tensor, distributed, multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from pathray.pretraining.objective import whole_state

STEPS, BATCH = 3, 8
# Objective, and whether its parameters are sharded (FSDP2) instead of replicated (DDP).
CASES = {"vqkd": ("vqkd", False), "beitv2": ("beitv2", False), "sharded": ("vqkd", True)}


def train(
    name: str, folder: Path, rank: int, ranks: int, micro_batches: int, *, sharded: bool = False
) -> dict[str, Tensor]:
    """The state after `STEPS` steps on this rank's share of every batch of `BATCH` images."""
    torch.manual_seed(rank)
    objective = (
        small_objectives.beitv2(folder / "tokenizer")
        if name == "beitv2"
        else small_objectives.vqkd(codes=24, reseed_after=2)
    )
    batches = small_objectives.views(BATCH * STEPS)
    objective.train()
    first = small_objectives.part(batches, 0, STEPS)
    objective.warm_start(small_objectives.part(first, rank, ranks))
    wrapped: Any = objective
    if sharded:
        mesh = init_device_mesh("cpu", (ranks,))
        for part in (*objective.blocks(), objective):
            fully_shard(part, mesh=mesh)
        register_fsdp_forward_method(objective, "features")
    elif ranks > 1:
        wrapped = DistributedDataParallel(objective)
    optimiser = torch.optim.SGD(objective.parameters(), lr=0.05)
    for step in range(STEPS):
        batch = small_objectives.part(batches, step, STEPS)
        mine = small_objectives.part(batch, rank, ranks)
        for index in range(micro_batches):
            last = index == micro_batches - 1
            with nullcontext() if last or wrapped is objective else wrapped.no_sync():
                loss = wrapped(small_objectives.part(mine, index, micro_batches))["loss"]
                (loss / micro_batches).backward()
        optimiser.step()
        optimiser.zero_grad()
        objective.finish_step()
    objective.export(str(folder / "export"), "learned", None)
    objective.features(batches.pixels[:2])
    return whole_state(objective)


def train_on_two_ranks(folder: Path) -> None:
    """Two processes train together over gloo, every case of `CASES` in turn.

    Each writes the state it ends with to `<folder>/<case>/rank<rank>.pt`.
    """
    for case in CASES:
        (folder / case).mkdir()
    small_objectives.beitv2(folder / "beitv2" / "tokenizer")  # written before the ranks read it
    multiprocessing.spawn(_rank, (folder,), nprocs=2)


def _rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    for case, (name, sharded) in CASES.items():
        state = train(name, folder / case, rank, 2, micro_batches=2, sharded=sharded)
        torch.save(state, folder / case / f"rank{rank}.pt")
    distributed.destroy_process_group()
