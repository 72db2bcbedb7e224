"""A cluster as the manifests start it: a head without CPUs, and workers that come when asked."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray_head import TOKEN, Head, ray_head, ray_worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with tempfile.TemporaryDirectory(prefix="ray") as folder, ray_head(Path(folder), 0) as head:
        yield head


def asked_for(head: Head) -> list[object]:
    """What waits for nodes, as the autoscaler is told."""
    request = urllib.request.Request(
        f"{head.url}/api/cluster_status", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        report = json.load(answer)["data"]["clusterStatus"]["loadMetricsReport"]
    return [*report["resourceDemand"], *report["requestDemand"]]


@pytest.mark.parametrize("job", ["tile", "embed"])
def test_a_job_asks_for_nodes_and_uses_them_when_they_come(
    head: Head, slides: Path, tmp_path: Path, job: str
) -> None:
    flags = ["--slides", slides, "--out", tmp_path / "out", "--mpp", "0.5"]
    if job == "embed":
        flags += ["--encoder", "timm/vit_tiny_patch16_224", "--random-init", "--num-encoders", "1",
                  "--tiles-per-slide", "8"]  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-m", "jobs", "submit", job, "--address", head.url, "--",
         *map(str, flags)],
        env=head.environment
        | {"PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 150
    while not asked_for(head):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline, "nothing asks for a node"
        time.sleep(1)
    with ray_worker(head, cpus=2):
        out, err = running.communicate(timeout=240)
    assert running.returncode == 0, out + err
    rows = pq.read_table(tmp_path / "out" / "_index.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["done", "done"]
