"""What Prometheus and a log store see of a job that runs on a cluster."""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn_bags import draw_cohort
from ray_head import Head, ray_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
SERIES = re.compile(r"^ray_pathray_(\w+)\{(.*)\} ([-+.e\d]+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # So rarely that a short run is seen only by what it exports when it disconnects.
    rarely = {"RAY_metrics_report_interval_ms": "60000"}
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # noqa: SIM117
        with ray_head(Path(folder), cpus=2, variables=rarely) as head:
            yield head


def submitted(head: Head, job: str, *flags: object, **variables: str) -> tuple[int, str, str]:
    """`pathray submit JOB …`, with these variables; its exit code, output and errors."""
    paths = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "submit", job, "--address", head.url,
         *(["--env", ",".join(variables)] if variables else []), "--", *map(str, flags)],
        env=head.environment | {"PYTHONPATH": paths} | variables,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def series(head: Head, command: str) -> dict[str, dict[str, float]]:
    """The series of a command now, by name and by what tells them apart."""
    with urllib.request.urlopen(head.metrics, timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, dict[str, float]] = {}
    for name, labels, value in SERIES.findall(text):
        told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert told["SessionName"]
        if told["command"] == command:
            tag = told.get("stage") or told.get("outcome") or ""
            found.setdefault(name, {})[tag] = float(value)
    return found


def lines_of(log: str) -> list[dict[str, str]]:
    """The JSON lines of a log that has other lines too."""
    return [json.loads(line) for line in log.splitlines() if line.startswith('{"time"')]


def test_a_run_is_seen_by_prometheus_to_its_end_and_logged_line_by_line(
    head: Head, slides: Path, tmp_path: Path
) -> None:
    (slides / "broken.tif").write_bytes(b"no slide")
    code, out, err = submitted(
        head, "embed", "--slides", slides, "--out", tmp_path / "out", "--mpp", "0.5",
        "--tiles-per-slide", 24, "--encoder", "timm/vit_small_patch16_224", "--random-init",
        PATHRAY_LOG="json",
    )  # fmt: skip
    assert code == 1, out + err

    seen = series(head, "embed")
    assert seen["slides_total"] == {"done": 2, "empty": 0, "failed": 1}
    assert seen["slides_open"] == {"": 0}
    assert seen["tiles_total"] == {"": 48}
    assert seen["tiles_lost_total"] == {"": 0}
    assert seen["read_bytes_total"][""] > 10_000
    assert seen["stage_workers"].keys() == seen["stage_seconds_total"].keys()
    encoded = seen["stage_seconds_total"]["encode"]
    assert seen["encoder_busy_seconds_total"][""] == pytest.approx(encoded, rel=1)

    assert "failed broken: " in out, "what a person follows is told in words"
    (driver,) = head.logs.glob("job-driver-*.log")
    events = lines_of(driver.read_text())
    slide = {event["slide_id"]: event for event in events if event["event"] == "slide"}
    assert {slide_id: event["outcome"] for slide_id, event in slide.items()} == {
        "P01-1": "done", "P02-1": "done", "broken": "failed",
    }  # fmt: skip
    assert slide["broken"]["level"] == "warning"
    assert all(event["job"] == "embed" and event["ray_job"] for event in slide.values())
    on_workers = [
        event for path in head.logs.glob("worker-*.err") for event in lines_of(path.read_text())
    ]
    (failure,) = [event for event in on_workers if event["event"] == "slide failed"]
    assert (failure["slide_id"], failure["step"]) == ("broken", "planning")
    assert failure["ray_job"] == slide["broken"]["ray_job"]
    assert "Traceback" in failure["traceback"]


def test_training_is_seen_by_prometheus(head: Head, slides: Path, tmp_path: Path) -> None:
    tiles, store = tmp_path / "tiles", f"sqlite:///{tmp_path}/mlflow.db"
    cut = ("--tile-size", 32, "--mpp", "1.0", "--tiles-per-slide", 40)
    code, out, err = submitted(head, "tile", "--slides", slides, "--out", tiles, *cut)
    assert code == 0, out + err
    assert series(head, "tile")["tiles_total"] == {"": 80}

    code, out, err = submitted(
        head, "pretrain", "--tiles", tiles, "--out", tmp_path / "run", "--objective", "vqkd",
        "--teacher", "timm/test_vit", "--random-init", "--codebook-size", 32, "--size", "tiny",
        "--input-size", 32, "--batch-size", 8, "--steps", 6, "--log-every", 1,
        MLFLOW_TRACKING_URI=store,
    )  # fmt: skip
    assert code == 0, out + err
    seen = series(head, "pretrain")
    assert seen["steps_total"] == {"": 6}
    assert seen["tiles_total"] == {"": 48}
    assert seen["steps_open"] == {"": 0}
    assert f" to {seen['loss']['']:.4f}" in out
    assert 0 <= seen["data_wait_share"][""] < 1


def test_folds_and_predictions_are_seen_by_prometheus(head: Head, tmp_path: Path) -> None:
    bags, store = draw_cohort(tmp_path, patients=12, signal=8.0), f"sqlite:///{tmp_path}/mlflow.db"
    code, out, err = submitted(
        head, "finetune", "--embeddings", bags.embeddings, "--cohort", bags.table,
        "--target", "subtype", "--out", tmp_path / "run", "--aggregator", "mean", "--folds", 2,
        "--validation", 0.3, "--epochs", 3, "--register", "seen", MLFLOW_TRACKING_URI=store,
    )  # fmt: skip
    assert code == 0, out + err
    seen = series(head, "finetune")
    assert seen["folds_total"] == {"done": 2, "failed": 0}
    assert seen["folds_open"] == {"": 0}
    assert 2 <= seen["epochs_total"][""] <= 6

    code, out, err = submitted(
        head, "predict", "--model", "models:/seen@current", "--embeddings", bags.embeddings,
        "--out", tmp_path / "predicted", MLFLOW_TRACKING_URI=store,
    )  # fmt: skip
    assert code == 0, out + err
    seen = series(head, "predict")
    assert seen["bags_total"] == {"done": 16, "empty": 0, "failed": 0}
    assert seen["bags_open"] == {"": 0}
