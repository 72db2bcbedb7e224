"""A cluster as the manifests start it: a head without CPUs, and workers that come when asked."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from drawn_bags import draw_cohort
from ray_head import Head, ray_head, ray_worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    as_kuberay = {"RAY_enable_autoscaler_v2": "1"}
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # noqa: SIM117
        with ray_head(Path(folder), 0, as_kuberay) as head:
            yield head


def nodes_are_asked_for(head: Head) -> bool:
    """Whether something waits for nodes, as the autoscaler is told."""
    done = subprocess.run(
        ["ray", "status", "--address", head.gcs],
        env=head.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return "pending tasks/actors" in done.stdout.partition("Pending Demands:")[2]


def finish_with_late_nodes(head: Head, job: str, *flags: object, **variables: str) -> str:
    """Submit a job, start a worker once nodes are asked for; what the job printed."""
    running = subprocess.Popen(
        [sys.executable, "-m", "jobs", "submit", job, "--address", head.url,
         *(["--env", ",".join(variables)] if variables else []), "--", *map(str, flags)],
        env=head.environment
        | {"PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)])}
        | variables,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 150
    while not nodes_are_asked_for(head):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline, "nothing asks for a node"
        time.sleep(1)
    with ray_worker(head, cpus=2):
        told, _ = running.communicate(timeout=240)
    assert running.returncode == 0, told
    return told


@pytest.mark.parametrize("job", ["tile", "embed"])
def test_a_job_asks_for_nodes_and_uses_them_when_they_come(
    head: Head, slides: Path, tmp_path: Path, job: str
) -> None:
    flags = ["--slides", slides, "--out", tmp_path / "out", "--mpp", "0.5"]
    if job == "embed":
        flags += ["--encoder", "timm/vit_tiny_patch16_224", "--random-init",
                  "--tiles-per-slide", "8"]  # fmt: skip
    told = finish_with_late_nodes(head, job, *flags)
    assert (job == "embed") == ("for those that the cluster could start say" in told)
    rows = pq.read_table(tmp_path / "out" / "_index.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["done", "done"]


def test_folds_are_trained_on_nodes_that_come_later(head: Head, tmp_path: Path) -> None:
    bags = draw_cohort(tmp_path, patients=12, signal=8.0)
    told = finish_with_late_nodes(
        head, "finetune", "--embeddings", bags.embeddings, "--cohort", bags.table,
        "--target", "subtype", "--out", tmp_path / "run", "--aggregator", "mean",
        "--folds", 2, "--validation", 0.3, "--epochs", 2,
        MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db",
    )  # fmt: skip
    assert "finetune: 2 folds: 2 done, 0 failed" in told
