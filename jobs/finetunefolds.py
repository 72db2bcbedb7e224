"""The folds on the cluster: each is one task, done again elsewhere when its node is lost."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.cluster import Capacity
from jobs.finetune import Flags
from jobs.finetunerequest import Request, gpus_per_fold
from jobs.mailbox import open_mailbox
from pathray.errors import RequestError, one_line
from pathray.evaluation.folds import Fold
from pathray.evaluation.sealed import Development
from pathray.finetuning.fold import Unlabelled, run_fold
from pathray.finetuning.foldobjects import put_fold
from pathray.finetuning.recipe import Recipe
from pathray.finetuning.result import Epoch
from pathray.mil.bagfiles import BagFile
from pathray.mil.store import open_bag_store

ATTEMPTS = 5
"""Times that a fold is begun again after its process or its node died."""
LISTEN_SECONDS = 0.3


@dataclass(frozen=True)
class FoldWork:
    """A fold to train: what it may see, and the bags to predict."""

    development: Development
    tested: Unlabelled
    seed: int

    @property
    def name(self) -> str:
        """The fold's."""
        return self.development.fold.name


@dataclass(frozen=True)
class Shared:
    """What all folds have in common."""

    out: str
    target: str
    files: tuple[BagFile, ...]
    recipe: Recipe
    cache_bytes: int
    cache_dir: str | None
    threads: int
    gpu: bool


@dataclass(frozen=True)
class Begun:
    """An epoch of a fold is over."""

    fold: str
    epoch: Epoch


@dataclass(frozen=True)
class Ended:
    """A fold is over; `error` is None where its objects are there."""

    fold: str
    error: str | None = None


def shared_of(request: Request, flags: Flags, capacity: Capacity) -> Shared:
    """For the tasks of this run."""
    return Shared(
        request.out,
        request.target,
        request.files,
        request.recipe,
        round(flags.cache_gb * 1e9),
        flags.cache_dir,
        max(1, int(flags.cpus_per_fold)),
        gpus_per_fold(flags, capacity) > 0,
    )


def pack(shared: Shared, cpus: float) -> None:
    """Pack the cohort on a node, so that bad embeddings are met before anything is written.

    RequestError naming the slide that holds them.
    """
    import ray

    task = ray.remote(_pack).options(num_cpus=cpus, max_retries=ATTEMPTS)
    try:
        ray.get(task.remote(shared))
    except ray.exceptions.RayTaskError as error:
        raise _own(error) from error


def train_folds(
    shared: Shared, works: Sequence[FoldWork], cpus: float, gpus: float
) -> Iterator[Begun | Ended]:
    """Train the folds, as many at a time as find room; what they say, as it comes.

    A RequestError of one ends all. Other errors end their fold alone.
    """
    import ray

    mailbox, common = open_mailbox(), ray.put(shared)
    task = ray.remote(_train).options(num_cpus=cpus, num_gpus=gpus, max_retries=ATTEMPTS)
    running = {task.remote(common, work, mailbox): work.name for work in works}
    try:
        while running:
            ended, _ = ray.wait(list(running), timeout=LISTEN_SECONDS)
            yield from ray.get(mailbox.take.remote())
            for reference in ended:
                yield Ended(running.pop(reference), _error_of(reference))
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _error_of(reference: Any) -> str | None:
    import ray

    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        mine = _own(error)
        if isinstance(mine, RequestError):
            raise mine from error
        return one_line(mine)
    except ray.exceptions.RayError as error:
        return f"its process died {ATTEMPTS + 1} times ({one_line(error, 120)})"
    return None


def _own(error: Any) -> Exception:
    """The exception that the task itself raised."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


def _pack(shared: Shared) -> None:
    with _store(shared) as store:
        store.vectors  # noqa: B018  (mapped once: the store is whole)


def _store(shared: Shared) -> Any:
    folder = Path(shared.cache_dir) if shared.cache_dir else None
    return open_bag_store(shared.files, shared.cache_bytes, folder)


def _train(shared: Shared, work: FoldWork, mailbox: Any) -> None:
    """One fold, to its objects."""
    import torch

    torch.set_num_threads(shared.threads)
    told = _teller(mailbox, work.name)
    with _store(shared) as store:
        device = torch.device("cuda" if shared.gpu else "cpu")
        made = run_fold(
            store,
            work.development,
            work.tested,
            shared.recipe,
            shared.target,
            work.seed,
            device,
            told,
        )
    put_fold(shared.out, made)


def _teller(mailbox: Any, fold: str) -> Callable[[Epoch], None]:
    """Tells the driver of an epoch, twice a second at most."""
    last = 0.0

    def tell(epoch: Epoch) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            mailbox.put.remote(Begun(fold, epoch))

    return tell


def seed_of(seed: int, fold: Fold, position: int) -> int:
    """The seed of a fold's model, from the run's."""
    import numpy as np

    return int(np.random.default_rng([seed, fold.repeat, position]).integers(2**31))
