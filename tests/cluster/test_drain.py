"""A preempted node: what runs on it ends, new work goes elsewhere, and it leaves."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
DOOMED = "127.0.0.2"


@pytest.fixture
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def drain(address: str, seconds: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.drain", "--seconds", str(seconds)],
        env=os.environ | {"RAY_ADDRESS": address, "POD_IP": DOOMED},
    )


def test_a_preempted_node_ends_its_work_and_leaves(cluster: Any) -> None:
    import ray

    cluster.add_node(num_cpus=1, node_ip_address=DOOMED)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)

    @ray.remote(num_cpus=1)
    class Work:
        def where(self) -> str:
            return str(ray.get_runtime_context().get_node_id())

        def long(self) -> str:
            time.sleep(6)
            return self.where()

    @ray.remote(num_cpus=1)
    def elsewhere() -> str:
        return str(ray.get_runtime_context().get_node_id())

    begun = Work.remote()
    doomed = ray.get(begun.where.remote())
    running = begun.long.remote()
    draining = drain(cluster.address, seconds=60)
    time.sleep(2)
    assert draining.poll() is None
    cluster.add_node(num_cpus=1)
    assert ray.get(elsewhere.remote()) != doomed
    assert ray.get(running) == doomed
    del begun, running
    assert draining.wait(60) == 0
    alive = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    assert DOOMED not in alive


def test_a_node_that_has_left_already_is_drained(cluster: Any) -> None:
    assert drain(cluster.address, seconds=5).wait(60) == 0
