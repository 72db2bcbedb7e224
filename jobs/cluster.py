"""Connecting to Ray: the cluster that RAY_ADDRESS names, or a local one of this job's own."""

import importlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobs import logs
from pathray.errors import RequestError, one_line

CARRIED = ("AWS_", "PATHRAY_")
"""Variables of the driver that its workers on other nodes need: the store and its keys."""
BOUND_TO_A_NODE = ("AWS_CA_", "AWS_CONTAINER_", "AWS_WEB_IDENTITY_", "PATHRAY_CACHE_")
"""These name files and services of the machine they are set on; a worker has its own."""


@dataclass(frozen=True)
class Capacity:
    """What the cluster has now: CPUs, GPUs, nodes, and the CPUs of its smallest worker.

    `grows`: an autoscaler may bring more. Ray does not know of which kind, or how many.
    """

    cpus: float
    gpus: float
    nodes: int
    smallest_node_cpus: float
    grows: bool = False


KNOCK_SECONDS = 10.0
STAGES = ("ray.data", "jobs.stages", "pathray.slides.openslide", "pathray.slides.tiff")
"""What the tasks of jobs over slides import."""


@contextmanager
def connected(imports: Sequence[str] = STAGES) -> Iterator[Capacity]:
    """A Ray connection for the length of the block; a cluster the job started is stopped.

    The workers of a local Ray import these modules while the driver goes on.
    """
    # Read by Ray when it is first imported: no usage report, no banner, our own progress.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    # Ray Train looks at its workers every 2 s otherwise, and would change their directory.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    # Tasks of less than a CPU make more workers than CPUs; a local Ray would end the idle ones
    # after a second and start others for the next tasks, seconds of imports each time.
    os.environ.setdefault("RAY_num_workers_soft_limit", str(4 * (os.cpu_count() or 1)))
    import ray

    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS") or "local"
        # The workers of a local Ray are children of this process and inherit its environment.
        settings: dict[str, Any] = {"include_dashboard": False}
        if address != "local":
            settings = {"runtime_env": {"worker_process_setup_hook": _carry_environment()}}
        try:
            _knock(address)
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                **settings,
            )
        except Exception as error:  # a node that starts too slowly is a bare one of Ray's
            raise RequestError(_no_ray(address, error)) from error
        started = True
        if address == "local" and imports:
            _warm_up(imports)
    else:
        started = False
    try:
        yield _capacity()
    finally:
        if started:
            ray.shutdown()


def _knock(address: str) -> None:
    """OSError where nothing listens at HOST:PORT: Ray would go on trying for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _no_ray(address: str, error: Exception) -> str:
    reason = one_line(error, 200)
    if address == "local":
        return (
            f"Ray does not start on this machine: {reason}; is it busy, or its memory or disk full?"
        )
    return (
        f"cannot reach the Ray cluster {address}: {reason}; check RAY_ADDRESS, or unset it to "
        "run on this machine"
    )


def _warm_up(imports: Sequence[str]) -> None:
    import ray

    for _ in range(os.cpu_count() or 1):
        ray.remote(_import).remote(imports)


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def _carry_environment() -> Callable[[], None]:
    """What every worker of this job runs first, so that it uses the driver's stores and keys.

    Ray writes the variables of `runtime_env["env_vars"]` into its logs; what a function holds
    it does not.
    """
    carried = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(CARRIED) and not name.startswith(BOUND_TO_A_NODE)
    }

    def set_environment() -> None:
        os.environ.update(carried)
        logs.configure()

    return set_environment


def _capacity() -> Capacity:
    import ray
    from ray.autoscaler.v2.utils import is_autoscaler_v2

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [float(node.get("CPU", 0)) for node in nodes]
    return Capacity(
        cpus=sum(cpus),
        gpus=sum(float(node.get("GPU", 0)) for node in nodes),
        nodes=len(nodes),
        smallest_node_cpus=min((c for c in cpus if c > 0), default=1.0),
        grows=is_autoscaler_v2(fetch_from_server=True),
    )
