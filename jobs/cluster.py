"""Connecting to Ray: the cluster that RAY_ADDRESS names, or a local one of this job's own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pathray.errors import RequestError, one_line


@dataclass(frozen=True)
class Capacity:
    """What the cluster has now: CPUs, GPUs, nodes, and the CPUs of its smallest worker."""

    cpus: float
    gpus: float
    nodes: int
    smallest_node_cpus: float


@contextmanager
def connected() -> Iterator[Capacity]:
    """A Ray connection for the length of the block; a cluster the job started is stopped."""
    # Read by Ray when it is first imported: no usage report, no banner, our own progress.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    import ray

    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS") or "local"
        local = {"include_dashboard": False} if address == "local" else {}
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                **local,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise RequestError(
                f"cannot reach the Ray cluster {address}: {one_line(error, 200)}; check "
                "RAY_ADDRESS, or unset it to run on this machine"
            ) from error
        started = True
    else:
        started = False
    try:
        yield _capacity()
    finally:
        if started:
            ray.shutdown()


def _capacity() -> Capacity:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [float(node.get("CPU", 0)) for node in nodes]
    return Capacity(
        cpus=sum(cpus),
        gpus=sum(float(node.get("GPU", 0)) for node in nodes),
        nodes=len(nodes),
        smallest_node_cpus=min((c for c in cpus if c > 0), default=1.0),
    )
