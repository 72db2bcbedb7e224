"""Training that is killed, as a worker, as a node and as a whole: the curve does not show it."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from commands import finish, start, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = 60
FLAGS = (
    *("--objective", "vqkd", "--teacher", "timm/test_vit", "--random-init"),
    *("--codebook-size", 64, "--size", "tiny", "--input-size", 64, "--batch-size", 16),
    *("--steps", STEPS, "--log-every", 1, "--checkpoint-every", 5),
)
TOLERANCE = 1e-4
"""Of the loss, relative. Sums over two workers are added in another order than over one."""


@pytest.fixture(scope="module", autouse=True)
def _mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def tiles(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of a real slide."""
    out = tmp_path_factory.mktemp("tiles")
    slide = shared / "data" / "slides" / "CMU-1-Small-Region.svs"
    finish(start("tile", "--slides", slide, "--out", out, "--tile-size", 64, "--mpp", "native"))
    return out


@pytest.fixture(scope="module")
def undisturbed(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process that was left alone.

    Not of this process, whose torch may have more threads and then adds in another order.
    """
    out = tmp_path_factory.mktemp("undisturbed")
    finish(start("pretrain", "--tiles", tiles, *FLAGS, "--out", out, "--num-workers", 0))
    return out


def newest(out: Path) -> int:
    """The newest checkpoint that is committed."""
    return max((int(p.parent.name) for p in out.glob("checkpoints/*/manifest.json")), default=0)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The training processes that a job's own Ray started."""
    found = psutil.Process(process.pid).children(recursive=True)
    return [child for child in found if "RayTrainWorker" in " ".join(child.cmdline())]


def curve(out: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    return {row["step"]: row["loss"] for row in rows}


def test_a_killed_worker_and_a_killed_job_leave_the_curve_as_it_was(tiles, undisturbed, tmp_path):
    flags = ("pretrain", "--tiles", tiles, *FLAGS, "--out", tmp_path, "--num-workers", 2)
    job = start(*flags)
    wait_for(lambda: newest(tmp_path) >= 10, job)
    workers_of(job)[0].send_signal(signal.SIGKILL)
    # The job finds other workers, which begin at the newest checkpoint.
    wait_for(lambda: newest(tmp_path) >= 30, job)
    job.send_signal(signal.SIGKILL)
    _, err = job.communicate()
    assert "a worker was lost" in err
    time.sleep(5)  # its workers notice and end
    stopped = newest(tmp_path)
    assert stopped < STEPS
    out, _ = finish(start(*flags))
    assert out.startswith(f"pretrain: {STEPS} steps done ({stopped} of them before this run)")
    assert curve(tmp_path) == pytest.approx(curve(undisturbed), rel=TOLERANCE)


def test_a_killed_job_goes_on_with_another_number_of_workers(tiles, undisturbed, tmp_path):
    flags = ("pretrain", "--tiles", tiles, *FLAGS, "--out", tmp_path, "--num-workers")
    job = start(*flags, 2)
    wait_for(lambda: newest(tmp_path) >= 20, job)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    time.sleep(5)
    finish(start(*flags, 1))
    assert curve(tmp_path) == pytest.approx(curve(undisturbed), rel=TOLERANCE)


def test_one_worker_that_is_killed_repeats_its_curve_bit_by_bit(tiles, undisturbed, tmp_path):
    job = start("pretrain", "--tiles", tiles, *FLAGS, "--out", tmp_path, "--num-workers", 1)
    wait_for(lambda: newest(tmp_path) >= 20, job)
    workers_of(job)[0].send_signal(signal.SIGKILL)
    finish(job)
    assert curve(tmp_path) == curve(undisturbed)
    encoder = "encoder/model.safetensors"
    assert (tmp_path / encoder).read_bytes() == (undisturbed / encoder).read_bytes()


def test_a_lost_node_leaves_the_curve_as_it_was(tiles, undisturbed, tmp_path):
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=2)
        doomed = cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        flags = ("pretrain", "--tiles", tiles, *FLAGS, "--out", tmp_path, "--num-workers", 2)
        # Each takes a node for itself; then both share the one that is left.
        job = start(*flags, address=cluster.address)
        wait_for(lambda: newest(tmp_path) >= 10, job)
        cluster.remove_node(doomed, allow_graceful=False)
        _, err = finish(job)
    finally:
        cluster.shutdown()
    assert "a worker was lost" in err
    assert curve(tmp_path) == pytest.approx(curve(undisturbed), rel=TOLERANCE)
