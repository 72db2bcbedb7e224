"""`pathray finetune --level tile`: probes over a pool of encoders, and whole encoders trained."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from pathray.encoders import load_encoder

TUNE = ("--method", "full", "--encoder", "timm/test_vit", "--random-init", "--lr", "3e-3")
SMALL = ("--folds", "3", "--epochs", "2", "--batch-size", "16")


@pytest.fixture(autouse=True)
def _own_tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a class, told apart by colour."""
    folder, rng = tmp_path_factory.mktemp("tiles"), np.random.default_rng(0)
    for name, colour in (("pink", (200, 160, 220)), ("violet", (150, 90, 160))):
        (folder / name).mkdir()
        for number in range(12):
            tile = np.clip(rng.normal(colour, 25, (160, 160, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"{number:02}.png"), tile)
    return folder


def test_frozen_vectors_are_probed_and_a_rerun_has_nothing_to_do(pathray, tiles, tmp_path):
    out = tmp_path / "run"
    flags = ("finetune", "--level", "tile", "--tiles", tiles, "--encoder", "mean_rgb")
    ran = pathray(*flags, "--method", "knn", "--folds", "3", "--out", out)
    assert ran.code == 0, ran
    assert "auc               1.000" in ran.out
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    assert len(rows) == 24
    again = pathray(*flags, "--method", "knn", "--folds", "3", "--out", out)
    assert "3 of them before this run" in again.out
    refused = pathray(*flags, "--method", "linear", "--folds", "3", "--out", out)
    assert refused.code == 2
    assert "method is 'knn' there" in refused.err


@pytest.mark.parametrize(
    "workers", ["0", pytest.param("2", marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_whole_encoder_is_trained_and_can_embed_afterwards(pathray, tiles, tmp_path, workers):
    out = tmp_path / "run"
    flags = ("finetune", "--level", "tile", "--tiles", tiles, "--out", out)
    ran = pathray(*flags, *TUNE, *SMALL, "--num-workers", workers, "--register", "tuned")
    assert ran.code == 0, ran
    tuned = load_encoder(str(out / "fold-0" / "encoder"))
    assert tuned(np.zeros((2, 160, 160, 3), np.uint8)).shape == (2, tuned.dim)
    begun = load_encoder("timm/test_vit", random_init=True)
    assert tuned.digest != begun.digest
    assert registered_files("tuned") == {"MLmodel", "heads.safetensors", "tilemodel.json"}
    told = predicted(pathray, "models:/tuned@current", tiles, tmp_path / "told")
    tested = pq.read_table(out / "predictions.parquet").to_pylist()
    assert len(told) == len(tested) == 24
    for row in tested:  # the fold that tested a tile is one of the ensemble
        low, high = (told[row["path"]][f"probability_pink_{end}"] for end in ("low", "high"))
        assert low - 1e-5 <= row["probability_pink"] <= high + 1e-5


def registered_files(name):
    client = MlflowClient()
    run = client.get_model_version_by_alias(name, "current").run_id
    return {Path(entry.path).name for entry in client.list_artifacts(run, "model")}


def predicted(pathray, model, tiles, out, *more):
    ran = pathray("predict", "--model", model, "--tiles", tiles, "--out", out, *more)
    assert ran.code == 0, ran
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    return {row["path"]: row for row in rows}


def test_a_probe_has_a_report_and_predicts_tiles_by_its_registered_name(pathray, tiles, tmp_path):
    out, probe = tmp_path / "run", ("--encoder", "mean_rgb", "--method", "linear", "--folds", "3")
    flags = ("finetune", "--level", "tile", "--tiles", tiles, "--out", out)
    ran = pathray(*flags, *probe, "--register", "colours", "--alias", "best")
    assert ran.code == 0, ran
    assert "models:/colours@best (models:/colours/1)" in ran.out
    report = (out / "report.html").read_text()
    assert "Each tile is a group of its own" in report
    assert report.count("data:image/jpeg") == 2  # nothing was taken for another
    assert (out / "figures" / "forest.svg").exists()
    told = predicted(
        pathray, "models:/colours@best", tiles, tmp_path / "told", "--encoder", "mean_rgb"
    )
    assert len(told) == 24
    for path, row in told.items():
        assert row["predicted"] == Path(path).parent.name
        each = [row[f"probability_pink{end}"] for end in ("_low", "", "_high")]
        assert each == sorted(each)


def test_tiles_and_encoders_that_are_not_the_models_are_refused(pathray, tiles, tmp_path):
    out, probe = tmp_path / "run", ("--encoder", "mean_rgb", "--method", "linear", "--folds", "3")
    flags = ("finetune", "--level", "tile", "--tiles", tiles, "--out")
    assert pathray(*flags, out, *probe).code == 0
    small = tmp_path / "small"
    small.mkdir()
    cv2.imwrite(str(small / "a.png"), np.zeros((96, 80, 3), np.uint8))
    asked = ("predict", "--model", out / "model", "--out", tmp_path / "told")
    other = pathray(*asked, "--tiles", tiles, "--encoder", "timm/test_vit", "--random-init")
    assert other.code == 2
    assert "encoder_digest differs" in other.err
    assert not (tmp_path / "told").exists()
    size = pathray(*asked, "--tiles", small, "--encoder", "mean_rgb")
    assert size.code == 1
    assert "a.png is of 80 x 96 pixels, not 160 x 160" in size.out
    assert "1 tiles: 0 done, 1 failed" in size.out
    (row,) = pq.read_table(tmp_path / "told" / "predictions.parquet").to_pylist()
    assert row["predicted"] is None
    assert "80 x 96" in row["error"]
    none = pathray(*asked, "--tiles", tiles)
    assert none.code == 2
    assert "--tiles needs --encoder" in none.err
    knn = pathray(*flags, tmp_path / "k", "--method", "knn", "--encoder", "mean_rgb",
                  "--register", "x")  # fmt: skip
    assert knn.code == 2
    assert "--register has no meaning with --method knn" in knn.err


def test_flags_of_slides_have_no_meaning_for_tiles(pathray, tiles, tmp_path):
    flags = ("finetune", "--level", "tile", "--tiles", tiles, "--encoder", "mean_rgb")
    refused = pathray(*flags, "--out", tmp_path / "o", "--aggregator", "mean")
    assert refused.code == 2
    assert "--aggregator has no meaning with --level tile" in refused.err
    light = pathray(*flags, "--method", "full", "--folds", "3", "--out", tmp_path / "o")
    assert light.code == 2
    assert "no weights to train" in light.err
    assert not (tmp_path / "o").exists()
