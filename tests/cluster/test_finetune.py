"""`pathray finetune` and `pathray predict` on a real Ray: what they leave, resume and refuse."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn_bags import Drawn, draw_cohort, write_bag

from pathray.encoders import load_encoder
from pathray.finetuning.result import RunResult
from pathray.mil.aggregator import AggregatorSettings
from pathray.mil.aggregators import build_aggregator
from pathray.mil.formats.bag import Made
from pathray.mil.head import Head
from pathray.slidemodel import load_slide_model, save_slide_model

SHORT = ("--folds", "2", "--validation", "0.2", "--epochs", "3", "--seed", "3", "--lr", "1e-3")


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw_cohort(tmp_path_factory.mktemp("bags"), patients=20, signal=8.0)


@pytest.fixture(autouse=True)
def _own_tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)


def given(bags: Drawn, out: Path, target: str = "subtype") -> tuple[object, ...]:
    told = ("--embeddings", bags.embeddings, "--cohort", bags.table, "--target", target)
    return ("finetune", *told, "--out", out, *SHORT)


def times_of(out: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in out.glob("fold-*/outcome.json")}


def test_a_run_leaves_report_numbers_predictions_and_a_registered_model(pathray, bags, tmp_path):
    from mlflow import MlflowClient

    out = tmp_path / "run"
    ran = pathray(*given(bags, out), "--register", "subtype-model", "--aggregator", "mean")
    assert ran.code == 0, ran
    assert "auc " in ran.out
    assert str(out / "report.html") in ran.out
    result = RunResult.model_validate_json((out / "result.json").read_text())
    tested = pq.read_table(out / "predictions.parquet").to_pylist()
    assert sorted(row["slide_id"] for row in tested) == sorted(bags.labelled.slide_ids)
    assert {row["fold"] for row in tested} == {"0", "1"}
    assert (out / "report.html").read_bytes().startswith(b"<!")
    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("pathray-finetune").experiment_id])
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs}
    assert len(runs) == 3
    assert len(parents) == 2
    parent = client.get_run(next(run for run in parents if run))
    assert parent.data.tags["pathray.cohort_digest"] == result.cohort.digest
    assert parent.data.tags["pathray.encoder_digest"] == "e" * 64
    version = client.get_model_version_by_alias("subtype-model", "current")
    assert version.run_id == parent.info.run_id
    assert load_slide_model("models:/subtype-model@current").head.classes == ("glandular", "solid")

    predicted = tmp_path / "predicted"
    asked = ("--model", "models:/subtype-model@current", "--embeddings", bags.embeddings)
    assert pathray("predict", *asked, "--out", predicted).code == 0
    rows = pq.read_table(predicted / "predictions.parquet").to_pylist()
    assert [row["slide_id"] for row in rows] == list(bags.labelled.slide_ids)
    assert all(abs(r["probability_solid"] + r["probability_glandular"] - 1) < 1e-6 for r in rows)
    attention = pq.read_table(predicted / f"{rows[0]['slide_id']}.parquet")
    assert attention.num_rows == rows[0]["tiles"]
    assert sum(attention["attention"].to_pylist()) == pytest.approx(1, abs=1e-4)
    again = pathray("predict", *asked, "--out", predicted)
    assert f"{len(rows)} of them before this run" in again.out


def test_a_rerun_trains_only_the_missing_fold_and_finds_the_same(pathray, bags, tmp_path):
    out = tmp_path / "run"
    flags = given(bags, out, "survival")
    assert pathray(*flags).code == 0
    first, numbers = times_of(out), json.loads((out / "result.json").read_text())
    (out / "fold-1" / "outcome.json").unlink()
    again = pathray(*flags)
    assert again.code == 0
    assert "1 of them before this run" in again.out
    assert times_of(out)["fold-0"] == first["fold-0"]
    assert json.loads((out / "result.json").read_text())["evaluation"] == numbers["evaluation"]
    refused = pathray(*flags, "--dropout", "0.5")
    assert refused.code == 2
    assert "dropout is 0.25 there and 0.5 now" in refused.err


def test_an_embedding_that_is_no_number_names_its_slide(pathray, bags, tmp_path):
    folder = tmp_path / "emb"
    shutil.copytree(bags.embeddings, folder)
    vectors = np.ones((5, 16), np.float16)
    vectors[2, 3] = np.nan
    write_bag(folder, "P001-0", vectors)
    told = ("--embeddings", folder, "--cohort", bags.table, "--target", "subtype")
    refused = pathray("finetune", *told, "--out", tmp_path / "out", *SHORT)
    assert refused.code == 2
    assert "P001-0" in refused.err
    assert "NaN" in refused.err
    assert len([line for line in refused.err.splitlines() if "pathray:" in line]) == 1
    assert not (tmp_path / "out").exists()


def model_of(made: Made, folder: Path) -> Path:
    settings = AggregatorSettings(aggregator="abmil", dim=made.dim, outputs=2)
    head = Head(settings=settings, made=made, target="subtype", loss="ce", classes=("a", "b"))
    save_slide_model(str(folder), [(head, build_aggregator(settings, seed)) for seed in (0, 1)])
    return folder


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"encoder_digest": "0" * 64}, "encoder_digest differs"),
        ({"mpp": 0.25}, "mpp differs"),
        ({"tile_size": 256}, "tile_size differs"),
    ],
)
def test_embeddings_made_in_another_way_are_refused(pathray, bags, tmp_path, other, said):
    made = {"dim": 16, "encoder_digest": "e" * 64, "mpp": 0.5, "tile_size": 224}
    model = model_of(Made(**(made | other)), tmp_path / "model")
    out = tmp_path / "out"
    refused = pathray("predict", "--model", model, "--embeddings", bags.embeddings, "--out", out)
    assert refused.code == 2
    assert said in refused.err
    assert not out.exists()


def test_slides_are_embedded_on_the_way_by_the_models_own_encoder(pathray, slides, tmp_path):
    digest = load_encoder("mean_rgb").digest
    model = model_of(Made(6, digest, 0.5, 224, "mean_rgb"), tmp_path / "model")
    out = tmp_path / "out"
    flags = ("predict", "--model", model, "--slides", slides, "--out", out)
    refused = pathray(*flags, "--encoder", "timm/test_vit", "--random-init")
    assert refused.code == 2
    assert "trained on embeddings of mean_rgb" in refused.err
    assert not out.exists()
    ran = pathray(*flags, "--encoder", "mean_rgb")
    assert ran.code == 0, ran
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    assert len(rows) == 2
    embedded = pq.read_table(out / "embeddings" / f"{rows[0]['slide_id']}.parquet")
    attention = pq.read_table(out / f"{rows[0]['slide_id']}.parquet")
    assert attention["x"].to_pylist() == embedded["x"].to_pylist()
