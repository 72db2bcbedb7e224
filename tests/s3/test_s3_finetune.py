"""`finetune` and `predict` with embeddings, table, models and predictions in a bucket."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import Command, moto_only
from drawn_bags import draw_cohort
from servers import Bucket

SHORT = (
    *("--folds", "2", "--validation", "0.2", "--epochs", "3", "--seed", "3", "--lr", "1e-3"),
    *("--aggregator", "mean"),
)


@pytest.fixture(autouse=True)
def _mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@moto_only
def test_a_run_in_a_bucket_resumes_by_fold_and_its_model_predicts_there(
    bucket: Bucket, pathray: Command, tmp_path: Path
) -> None:
    drawn = draw_cohort(tmp_path / "drawn", patients=20, signal=8.0)
    for path in sorted(drawn.embeddings.iterdir()):
        bucket.put(f"emb/{path.name}", path)
    bucket.put("cohort.csv", drawn.table)
    given = ("--embeddings", bucket.uri("emb/"), "--cohort", bucket.uri("cohort.csv"))
    asked = ("finetune", *given, "--target", "survival", "--out", bucket.uri("run"), *SHORT)
    ran = pathray(*asked)
    assert ran.code == 0, ran.text
    assert bucket.uri("run/report.html") in ran.text
    folds = bucket.objects("run/fold-")
    measures = json.loads(bucket.read("run/result.json"))["evaluation"]

    bucket.client.delete_object(Bucket=bucket.name, Key="run/fold-1/outcome.json")
    again = pathray(*asked)
    assert "2 done (1 of them before this run)" in again.text
    after = bucket.objects("run/fold-")
    assert after.keys() == folds.keys()
    assert all(after[key] == folds[key] for key in folds if "/fold-0/" in key)
    assert json.loads(bucket.read("run/result.json"))["evaluation"] == measures

    out = bucket.uri("predicted")
    model = ("--model", bucket.uri("run/model"), "--patient-id", "slide")
    predicted = pathray("predict", *model, "--embeddings", bucket.uri("emb/"), "--out", out)
    assert predicted.code == 0, predicted.text
    fetched = tmp_path / "fetched.parquet"
    fetched.write_bytes(bucket.read("predicted/predictions.parquet"))
    assert pq.read_table(fetched)["patient_id"].to_pylist() == list(drawn.labelled.slide_ids)
