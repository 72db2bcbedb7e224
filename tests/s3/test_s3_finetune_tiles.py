"""Tile models over S3: learnt from tiles of a bucket, kept in it, applied from there."""

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Command, rclone_only
from servers import Bucket

PROBE = ("--level", "tile", "--encoder", "mean_rgb", "--method", "linear", "--folds", "3")


@pytest.fixture(autouse=True)
def _own_tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)


def draw_tiles(folder: Path) -> list[Path]:
    """A folder a class, told apart by colour but not quite."""
    rng = np.random.default_rng(0)
    for name, colour in (("pink", (200, 160, 220)), ("violet", (170, 130, 190))):
        (folder / name).mkdir(parents=True)
        for number in range(9):
            mean = np.add(colour, rng.normal(0, 25))
            tile = np.clip(rng.normal(mean, 25, (64, 64, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"{number}.png"), tile)
    return sorted(folder.rglob("*.png"))


def told(table: bytes) -> dict[str, dict[str, object]]:
    """By class and file, without the store."""
    rows = pq.read_table(io.BytesIO(table)).to_pylist()
    return {"/".join(row.pop("path").rsplit("/", 2)[1:]): row for row in rows}


@rclone_only
def test_a_tile_model_over_s3_is_the_one_of_a_local_run_and_predicts_from_there(
    bucket: Bucket, pathray: Command, tmp_path: Path
) -> None:
    for tile in draw_tiles(tmp_path / "tiles"):
        bucket.put(f"tiles/{tile.parent.name}/{tile.name}", tile)
    local, tiles = tmp_path / "out", bucket.uri("tiles")
    first = pathray("finetune", "--tiles", str(tmp_path / "tiles"), "--out", str(local), *PROBE)
    over = pathray("finetune", "--tiles", tiles, "--out", bucket.uri("out"), *PROBE)
    assert (first.code, over.code) == (0, 0), first.text + over.text

    made = {str(path.relative_to(local)) for path in local.rglob("*") if path.is_file()}
    assert {key.removeprefix("out/") for key in bucket.objects("out/")} == made
    assert {"report.html", "report.json", "model/tilemodel.json"} <= made
    heads = "model/heads.safetensors"
    assert bucket.read(f"out/{heads}") == (local / heads).read_bytes()
    theirs, ours = (
        json.loads(bucket.read("out/report.json")),
        json.loads((local / "report.json").read_text()),
    )
    assert theirs["evaluation"] == ours["evaluation"]
    assert theirs["provenance"]["tiles"] == f"{tiles}/"
    again = pathray("finetune", "--tiles", tiles, "--out", bucket.uri("out"), *PROBE)
    assert "3 of them before this run" in again.text

    asked = ("--tiles", tiles, "--encoder", "mean_rgb", "--out", bucket.uri("told"))
    ran = pathray("predict", "--model", bucket.uri("out/model"), *asked)
    assert ran.code == 0, ran.text
    answers = told(bucket.read("told/predictions.parquet"))
    assert len(answers) == 18
    for tile, row in told(bucket.read("out/predictions.parquet")).items():
        low, high = (answers[tile][f"probability_pink_{end}"] for end in ("low", "high"))
        assert low - 1e-6 <= row["probability_pink"] <= high + 1e-6


@rclone_only
@pytest.mark.slow
def test_encoders_trained_over_s3_predict_from_the_models_folder(
    bucket: Bucket, pathray: Command, tmp_path: Path
) -> None:
    for tile in draw_tiles(tmp_path / "tiles"):
        bucket.put(f"tiles/{tile.parent.name}/{tile.name}", tile)
    tune = ("--method", "full", "--encoder", "timm/test_vit", "--random-init", "--epochs", "1")
    asked = ("--level", "tile", "--tiles", bucket.uri("tiles"), "--out", bucket.uri("out"))
    ran = pathray("finetune", *asked, *tune, "--folds", "3", "--num-workers", "0")
    assert ran.code == 0, ran.text
    model = json.loads(bucket.read("out/model/tilemodel.json"))
    assert model["home"] == bucket.uri("out/model")
    where = ("--tiles", bucket.uri("tiles/pink"), "--out", bucket.uri("told"))
    ran = pathray("predict", "--model", bucket.uri("out/model"), *where)
    assert ran.code == 0, ran.text
    assert len(told(bucket.read("told/predictions.parquet"))) == 9
