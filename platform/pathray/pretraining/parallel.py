"""Many processes train one model: parallelism is applied from outside, the model stays maths."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

Parallel = Literal["ddp", "fsdp"]


@dataclass(frozen=True)
class World:
    """This process among those that train: its rank, how many there are, its device.

    With more than one, torch's default process group is initialised already.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 immutable

    def mean(self, values: Sequence[float | Tensor]) -> list[float]:
        """The means over all processes; every process must ask for the same values."""
        held = [torch.as_tensor(v, dtype=torch.float64).to(self.device) for v in values]
        summed = torch.stack(held)
        if self.size > 1:
            distributed.all_reduce(summed)
        return (summed / self.size).tolist()

    def agree(self, value: Any) -> Any:
        """The value of rank 0, a small picklable one, in all processes."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]


def parallelise(
    model: nn.Module, blocks: Sequence[nn.Module], world: World, how: Parallel
) -> nn.Module:
    """The model as all processes train it; alone it is returned as it is.

    ddp: every process holds the whole model. fsdp (FSDP2): each holds a part of every block's
    parameters, gradients and optimiser state, and gathers a block when it is its turn.
    """
    if world.size == 1:
        return model
    if how == "ddp":
        ids = [world.device.index] if world.device.type == "cuda" else None
        # Buffers (a codebook) are kept equal by the model's own reductions.
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # What else runs the network must gather its parameters too.
    register_fsdp_forward_method(model, "features")
    return model


@contextmanager
def reduced_at_end(model: nn.Module, last: bool) -> Iterator[None]:
    """Gradients stay on their process until the `last` micro batch of a step."""
    if isinstance(model, DistributedDataParallel) and not last:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    yield
