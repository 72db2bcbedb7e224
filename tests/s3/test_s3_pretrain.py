"""`pretrain` with tiles, checkpoints and encoder in a bucket."""

import json
from pathlib import Path

import pytest
from conftest import Command
from servers import Bucket

from pathray import storage
from pathray.pretraining.checkpoints import MANIFEST, Checkpoints

FLAGS = (
    *("--objective", "vqkd", "--teacher", "timm/test_vit", "--random-init"),
    *("--codebook-size", "32", "--size", "tiny", "--input-size", "32", "--batch-size", "8"),
    *("--steps", "4", "--log-every", "1", "--checkpoint-every", "1", "--keep", "2"),
)


@pytest.fixture(autouse=True)
def _mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


def curve(out: str) -> dict[int, float]:
    lines = storage.read_bytes(f"{out}/history.jsonl").decode().splitlines()
    return {row["step"]: row["loss"] for row in map(json.loads, lines)}


def test_a_run_in_a_bucket_resumes_to_what_a_local_run_learns(
    bucket: Bucket, pathray: Command, drawn_slide: Path, tmp_path: Path
) -> None:
    bucket.put("slides/drawn.tif", drawn_slide)
    tiles, out = f"s3://{bucket.name}/tiles", f"s3://{bucket.name}/run"
    small = ("--tile-size", "32", "--mpp", "1.0", "--tiles-per-slide", "40")
    tiled = pathray("tile", "--slides", f"s3://{bucket.name}/slides/", "--out", tiles, *small)
    assert tiled.code == 0, tiled.text
    asked = ("pretrain", "--tiles", tiles, *FLAGS)
    local = pathray(*asked, "--out", str(tmp_path / "out"), "--num-workers", "0")
    assert local.code == 0, local.text
    ran = pathray(*asked, "--out", out)
    assert ran.code == 0, ran.text
    held = Checkpoints(f"{out}/checkpoints")
    assert held.steps() == [3, 4]
    # As a death during the last upload would leave it.
    storage.delete([f"{out}/checkpoints/00000004/{MANIFEST}"])
    again = pathray(*asked, "--out", out, "--num-workers", "0")
    assert again.code == 0, again.text
    assert "pretrain: 4 steps done (3 of them before this run)" in again.text
    assert curve(out) == pytest.approx(curve(str(tmp_path / "out")), rel=1e-4)
    weights = "encoder/model.safetensors"
    assert (
        len(storage.read_bytes(f"{out}/{weights}")) == (tmp_path / "out" / weights).stat().st_size
    )
