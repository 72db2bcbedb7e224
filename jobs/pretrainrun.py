"""What `pathray pretrain` runs: settle, place, train, summarise."""

import os

import torch

from jobs.cluster import Capacity, connected
from jobs.pretrain import Flags, indivisible
from jobs.pretrainfollow import Follower
from jobs.pretrainrequest import claim, is_finished, settle
from jobs.pretrainworkers import Fleet, train_on_ray
from pathray.errors import RequestError
from pathray.pretraining.events import Finished, Started
from pathray.pretraining.loop import train
from pathray.pretraining.parallel import World


def pretrain(flags: Flags) -> int:
    """Train an encoder; returns the exit code."""
    draft = settle(flags)
    if flags.num_workers == 0:
        device = _own_device(flags)
        request = claim(draft, flags, on_gpu=device.type == "cuda")
        with Follower(request, flags.experiment) as follower:
            train(request.training, request.practice, World(device=device), follower.take)
    elif is_finished(draft):
        with Follower(claim(draft, flags, on_gpu=False), flags.experiment) as follower:
            follower.take(Started(draft.training.steps))
            follower.take(Finished())
    else:
        # Ray Train starts processes of its own; none of the waiting ones.
        with connected(imports=()) as capacity:
            fleet = fleet_of(flags, capacity, draft.training.batch_size)
            request = claim(draft, flags, on_gpu=fleet.gpu)
            with Follower(request, flags.experiment) as follower:
                train_on_ray(request, fleet, follower)
    follower.summary()
    return 0


def _own_device(flags: Flags) -> torch.device:
    if flags.device == "cuda" and not torch.cuda.is_available():
        raise RequestError("--device cuda: torch finds no GPU here")
    gpu = flags.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if gpu else "cpu")


def fleet_of(flags: Flags, capacity: Capacity, batch: int) -> Fleet:
    """How many training processes, on what; RequestError where the cluster cannot have them."""
    if flags.device == "cuda" and not (capacity.gpus or capacity.grows):
        raise RequestError("--device cuda: the cluster has no GPU")
    gpu = flags.device == "cuda" or (flags.device == "auto" and capacity.gpus >= 1)
    workers = flags.num_workers or (max(1, int(capacity.gpus)) if gpu else 1)
    places = capacity.gpus if gpu else capacity.cpus
    if workers > places and "RAY_ADDRESS" not in os.environ:  # a cluster may grow
        what = "GPUs" if gpu else "CPUs"
        raise RequestError(f"--num-workers {workers}: this machine has {places:g} {what}")
    if batch % workers:
        raise RequestError(indivisible(batch, workers))
    return Fleet(workers, gpu)
