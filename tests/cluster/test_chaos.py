"""Workers, nodes and drivers that die: nothing finished is lost, nothing is there twice."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from commands import finish, start, wait_for
from drawn_bags import draw_cohort

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DENSE = ("--stride", "112", "--min-tissue", "0.5")
"""Overlapping tiles: enough pieces of one slide for something to happen in the middle."""


def objects_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("[!_]*.parquet"))}


@pytest.fixture(scope="module")
def slide(shared: Path) -> Path:
    return shared / "data" / "slides" / "arachnoid-cyst-HE.svs"


@pytest.fixture(scope="module")
def undisturbed(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards of a run on one local Ray, left alone."""
    out = tmp_path_factory.mktemp("undisturbed")
    finish(start("tile", "--slides", slide, "--out", out, *DENSE))
    return objects_of(out)


@pytest.fixture
def cluster() -> Iterator[object]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    yield cluster
    cluster.shutdown()


def test_a_lost_node_loses_and_repeats_nothing(cluster, slide, undisturbed, tmp_path):
    cluster.add_node(num_cpus=1)
    doomed = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    job = start("tile", "--slides", slide, "--out", tmp_path, *DENSE, address=cluster.address)
    wait_for(lambda: len(objects_of(tmp_path)) >= 2, job)
    cluster.remove_node(doomed, allow_graceful=False)
    finish(job)
    assert objects_of(tmp_path) == undisturbed


def test_one_worker_and_many_write_the_same_bytes(cluster, slide, undisturbed, tmp_path):
    for _ in range(3):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    finish(start("tile", "--slides", slide, "--out", tmp_path, *DENSE, address=cluster.address))
    assert objects_of(tmp_path) == undisturbed


def test_a_killed_tile_job_resumes_to_the_same_shards(slide, undisturbed, tmp_path):
    flags = ("tile", "--slides", slide, "--out", tmp_path, *DENSE)
    job = start(*flags)
    wait_for(lambda: len(objects_of(tmp_path)) >= 2, job)
    job.send_signal(signal.SIGKILL)
    job.wait()
    time.sleep(5)  # Its workers notice and end; none may write over what the next run makes.
    left = {path: path.stat().st_mtime_ns for path in tmp_path.glob("[!_]*.parquet")}
    assert len(left) < len(undisturbed)
    finish(start(*flags))
    assert objects_of(tmp_path) == undisturbed
    assert left == {path: path.stat().st_mtime_ns for path in left}


def test_a_killed_embed_job_resumes_from_its_staged_pieces(slide, tmp_path):
    flags = ("embed", "--slides", slide, "--encoder", "mean_rgb", *DENSE)
    whole, out = tmp_path / "whole", tmp_path / "out"
    finish(start(*flags, "--out", whole))
    job = start(*flags, "--out", out)
    staging = out / "_staging" / slide.stem
    wait_for(lambda: len(list(staging.glob("[!.]*.parquet"))) >= 2, job)
    job.send_signal(signal.SIGKILL)
    job.wait()
    time.sleep(5)
    assert not objects_of(out)
    finish(start(*flags, "--out", out))
    assert objects_of(out) == objects_of(whole)
    assert not list((out / "_staging").rglob("*.parquet"))


def test_a_lost_node_during_encoding_loses_no_row(cluster, slide, tmp_path):
    cluster.add_node(num_cpus=2)
    doomed = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    out, whole = tmp_path / "out", tmp_path / "whole"
    flags = ("embed", "--slides", slide, "--encoder", "timm/test_vit", "--random-init")
    job = start(*flags, "--out", out, *DENSE, "--precision", "fp32", address=cluster.address)
    staging = out / "_staging" / slide.stem
    wait_for(lambda: len(list(staging.glob("[!.]*.parquet"))) >= 1, job)
    cluster.remove_node(doomed, allow_graceful=False)
    finish(job)
    finish(start(*flags, "--out", whole, *DENSE, "--precision", "fp32", address=cluster.address))
    mine, theirs = (pq.read_table(folder / f"{slide.stem}.parquet") for folder in (out, whole))
    assert mine.equals(theirs)


def fold_times(out: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in sorted(out.glob("fold-*/outcome.json"))}


def finetuning(folder: Path, out: Path) -> tuple[object, ...]:
    drawn = folder / "cohort.csv"
    if not drawn.exists():
        draw_cohort(folder, patients=40, signal=8.0)
    given = ("--embeddings", folder / "emb", "--cohort", drawn, "--target", "subtype")
    return ("finetune", *given, "--out", out, "--folds", "5", "--epochs", "60", "--patience", "60")


def test_a_lost_node_costs_only_its_folds(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    cluster.add_node(num_cpus=1)
    doomed = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    out, whole = tmp_path / "out", tmp_path / "whole"
    job = start(*finetuning(tmp_path / "drawn", out), address=cluster.address)
    wait_for(lambda: len(fold_times(out)) >= 2, job)
    cluster.remove_node(doomed, allow_graceful=False)
    before = fold_times(out)
    finish(job)
    after = fold_times(out)
    assert len(after) == 5
    assert {name: after[name] for name in before} == before
    finish(start(*finetuning(tmp_path / "drawn", whole), address=cluster.address))
    mine, theirs = (pq.read_table(run / "predictions.parquet") for run in (out, whole))
    assert mine.equals(theirs)
