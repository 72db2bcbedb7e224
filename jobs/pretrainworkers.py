"""Training processes on Ray Train: where they run, what they say, and what follows a death."""

import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.mailbox import open_mailbox
from jobs.pretrainfollow import Follower
from jobs.pretrainrequest import Request
from pathray import storage
from pathray.errors import PathrayError, one_line
from pathray.pretraining.checkpoints import Checkpoints
from pathray.pretraining.events import Event, Finished, Note, Stopped
from pathray.pretraining.run import CHECKPOINTS

if TYPE_CHECKING:
    from ray.actor import ActorHandle

DEATHS = 3
"""Failures without a new checkpoint in between, after which a run ends."""
LISTEN_SECONDS = 0.5
SETTLE_SECONDS = 5.0
"""After a death: Ray takes a moment to notice that a node is gone."""


@dataclass(frozen=True)
class Fleet:
    """How many training processes, and whether each has a GPU."""

    workers: int
    gpu: bool

    def cpus_each(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """CPUs for each process: as many as let all of them find a place on these nodes.

        `nodes` are the resources of each (`CPU`, `GPU`). At least one: a cluster that is too
        small now may grow.
        """
        most = int(max((node.get("CPU", 0) for node in nodes), default=0))
        for cpus in range(most, 1, -1):
            by_cpu = [node.get("CPU", 0) // cpus for node in nodes]
            by_gpu = [node.get("GPU", 0) if self.gpu else float("inf") for node in nodes]
            if sum(map(min, by_cpu, by_gpu)) >= self.workers:
                return cpus
        return 1


def train_on_ray(request: Request, fleet: Fleet, follower: Follower) -> None:
    """Train to the end; processes and nodes that die are replaced, from the newest checkpoint.

    PathrayError for what another try would meet again, or when processes die three times
    without a new checkpoint.
    """
    mailbox = open_mailbox()
    checkpoints = Checkpoints(storage.join(request.practice.out, CHECKPOINTS))
    deaths, newest = 0, checkpoints.steps()[-1:]
    while True:
        error = _fit(request, fleet, mailbox, follower)
        if follower.stopped:
            raise PathrayError(follower.stopped)
        if error is None:
            return
        if _found_no_place(error):  # a cluster may grow, or be smaller than when it was asked
            follower.take(Note(f"{fleet.workers} workers find no place on the cluster yet"))
            continue
        before, newest = newest, checkpoints.steps()[-1:]
        deaths = 1 if newest != before else deaths + 1
        if deaths == DEATHS:
            raise PathrayError(
                f"training failed {DEATHS} times without a new checkpoint: {_reason(error)}"
            ) from error
        step = newest[0] if newest else 0
        follower.take(Note(f"a worker was lost ({_reason(error)}); going on from step {step}"))
        time.sleep(SETTLE_SECONDS)


def _fit(
    request: Request, fleet: Fleet, mailbox: "ActorHandle[Any]", follower: Follower
) -> BaseException | None:
    """Start the processes and listen to them until they end; returns what went wrong."""
    with tempfile.TemporaryDirectory(prefix="pathray-train-", ignore_cleanup_errors=True) as notes:
        fitting = _in_background(_trainer(request, fleet, mailbox, notes).fit)
        while not fitting.done():
            time.sleep(LISTEN_SECONDS)
            _listen(mailbox, follower)
        _listen(mailbox, follower)
        return fitting.exception()


def _found_no_place(error: BaseException) -> bool:
    cause = getattr(error, "controller_failure", None)
    return type(cause).__name__ == "WorkerGroupStartupTimeoutError"


def _reason(error: BaseException) -> str:
    failures = getattr(error, "worker_failures", None)
    return one_line(next(iter(failures.values())) if failures else error, 90)


def _trainer(request: Request, fleet: Fleet, mailbox: "ActorHandle[Any]", notes: str) -> Any:
    """Ray's trainer on the nodes that are there now; it keeps `notes`, a folder, of its own.

    Checkpoints are ours: Ray counts one only when it next looks, and could not resume a job
    that was started again.
    """
    import ray
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    resources = {"CPU": float(fleet.cpus_each(nodes))} | ({"GPU": 1.0} if fleet.gpu else {})
    return TorchTrainer(
        work,
        train_loop_config={
            "training": request.training,
            "practice": request.practice,
            "mailbox": mailbox,
        },
        torch_config=TorchConfig(backend="nccl" if fleet.gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=fleet.workers, use_gpu=fleet.gpu, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name="pretrain",
            storage_path=notes,
            # Ray would ask for the same again, on nodes that may be fewer by then.
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )


def work(config: dict[str, Any]) -> None:
    """One training process."""
    import ray
    import ray.train.torch

    from pathray.pretraining.loop import train
    from pathray.pretraining.parallel import World

    mailbox = config["mailbox"]

    def tell(event: Event) -> None:
        told = mailbox.put.remote(event)
        if isinstance(event, Finished | Stopped):
            ray.get(told)  # this process may end before it is delivered

    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    world = World(context.get_world_rank(), context.get_world_size(), device)
    try:
        train(config["training"], config["practice"], world, tell)
    except PathrayError as error:
        tell(Stopped(one_line(error)))
        raise


def _listen(mailbox: "ActorHandle[Any]", follower: Follower) -> None:
    import ray

    for event in ray.get(mailbox.take.remote()):
        follower.take(event)


def _in_background(act: Callable[[], Any]) -> "Future[Any]":
    """Ray Train's `fit` on a thread: on the main one it would take Ctrl-C for itself."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(act())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
