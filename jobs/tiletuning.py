"""Folds of whole encoders on Ray Train: one after the other, each on all workers."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from jobs.cluster import Capacity
from jobs.encoding import EncoderChoice
from jobs.finetune import Flags
from jobs.pretrainworkers import Fleet
from pathray.encoders import load_encoder
from pathray.encoders.torch_encoder import TorchEncoder
from pathray.errors import PathrayError, RequestError, one_line
from pathray.evaluation.sealed import Development
from pathray.finetuning.fold import Unlabelled
from pathray.finetuning.result import FoldOutcome
from pathray.finetuning.tiles.objects import put_tuned
from pathray.finetuning.tiles.probing import class_rows
from pathray.finetuning.tiles.tuning import Tuned, TuningPlan, tile_probabilities, tune
from pathray.pretraining.parallel import World

ATTEMPTS = 3
"""Times that a fold is begun again after a worker or a node died."""


@dataclass(frozen=True)
class TuneFold:
    """A fold to train: what it may see, the tiles to predict, the encoder to begin from."""

    development: Development
    tested: Unlabelled
    choice: EncoderChoice
    plan: TuningPlan
    out: str


def tune_folds(works: Sequence[TuneFold], flags: Flags, capacity: Capacity) -> Iterator[str]:
    """Train each fold; its name when its objects are there. PathrayError when one cannot be."""
    for work in works:
        if flags.num_workers == 0:
            gpu = torch.cuda.is_available()
            tune_fold(work, World(device=torch.device("cuda" if gpu else "cpu")))
        else:
            _on_ray(work, flags, capacity)
        yield work.development.fold.name


def tune_fold(work: TuneFold, world: World) -> None:
    """A fold, on all processes of the world; the first one writes its objects."""
    encoder = load_encoder(
        work.choice.name,
        weights=work.choice.weights,
        random_init=work.choice.random_init,
        seed=work.choice.seed,
        precision="fp32",
        device=str(world.device),
        allow_pickle=work.choice.allow_pickle,
    )
    if not isinstance(encoder, TorchEncoder):
        raise RequestError(f"--encoder {work.choice.name} has no weights to train")
    seen = work.development
    tuned = tune(encoder, seen.train, seen.validation, work.plan, world)
    if world.rank == 0:
        put_tuned(work.out, _outcome(work, tuned), encoder.spec, tuned.model)


def _outcome(work: TuneFold, tuned: Tuned) -> FoldOutcome:
    seen, batch = work.development, work.plan.batch
    steering = tile_probabilities(tuned.model, seen.validation.slide_ids, batch)
    answers = tile_probabilities(tuned.model, work.tested.slide_ids, batch)
    return FoldOutcome(
        fold=seen.fold.name,
        training_bags=len(seen.train),
        history=tuned.history,
        best_epoch=tuned.best_epoch,
        validation=class_rows(seen.validation, steering),
        predictions=dict(zip(work.tested.slide_ids, map(tuple, answers.tolist()), strict=True)),
        curves={},
        survival=None,
        attention=(),
        digest="",
        seconds=sum(epoch.seconds for epoch in tuned.history),
    )


def _on_ray(work: TuneFold, flags: Flags, capacity: Capacity) -> None:
    import ray
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    fleet = _fleet(flags, capacity)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    resources = {"CPU": float(fleet.cpus_each(nodes))} | ({"GPU": 1.0} if fleet.gpu else {})
    trainer: Any = TorchTrainer(
        _work,
        train_loop_config={"work": work},
        torch_config=TorchConfig(backend="nccl" if fleet.gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=fleet.workers, use_gpu=fleet.gpu, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=f"fold-{work.development.fold.name}",
            storage_path=tempfile.mkdtemp(prefix="pathray-tune-"),
            failure_config=ray.train.FailureConfig(max_failures=ATTEMPTS),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # Ray wraps what the workers raised
        failures = getattr(error, "worker_failures", None)
        cause = next(iter(failures.values())) if failures else error
        raise PathrayError(f"fold {work.development.fold.name}: {one_line(cause, 200)}") from error


def _fleet(flags: Flags, capacity: Capacity) -> Fleet:
    gpu = capacity.gpus >= 1
    places = capacity.gpus if gpu else capacity.cpus
    workers = flags.num_workers or (int(capacity.gpus) if gpu else 1)
    if workers > places and "RAY_ADDRESS" not in os.environ:  # a cluster may grow
        what = "GPUs" if gpu else "CPUs"
        raise RequestError(f"--num-workers {workers}: this machine has {places:g} {what}")
    return Fleet(workers, gpu)


def _work(config: dict[str, Any]) -> None:
    """One training process."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    tune_fold(config["work"], World(context.get_world_rank(), context.get_world_size(), device))
