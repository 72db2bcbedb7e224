"""What Prometheus and a log store see of a job that runs on a cluster."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ray_head import Head, ray_head

from jobs.metrics import COUNTERS, GAUGES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
SERIES = re.compile(r"^ray_(pathray_\w+)\{(.*)\} ([-+.e\d]+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    often = {"RAY_metrics_report_interval_ms": "500"}
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # noqa: SIM117
        with ray_head(Path(folder), cpus=2, variables=often) as head:
            yield head


def scrape(head: Head) -> dict[tuple[str, str], float]:
    """Our series now, by name and what tells them apart."""
    with urllib.request.urlopen(head.metrics, timeout=10) as answer:
        text = answer.read().decode()
    found: dict[tuple[str, str], float] = {}
    for name, labels, value in SERIES.findall(text):
        told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert told["command"] == "embed"
        assert told["SessionName"]
        found[name, told.get("stage") or told.get("outcome") or ""] = float(value)
    return found


def lines_of(log: str) -> list[dict[str, str]]:
    """The JSON lines of a log that has other lines too."""
    return [json.loads(line) for line in log.splitlines() if line.startswith('{"time"')]


def test_a_run_is_seen_by_prometheus_and_logged_line_by_line(
    head: Head, slides: Path, tmp_path: Path
) -> None:
    (slides / "broken.tif").write_bytes(b"no slide")
    paths = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    flags = ["--slides", slides, "--out", tmp_path / "out", "--mpp", "0.5", "--tiles-per-slide", 24,
             "--encoder", "timm/vit_small_patch16_224", "--random-init"]  # fmt: skip
    job = subprocess.Popen(
        [sys.executable, "-m", "jobs", "submit", "embed", "--address", head.url,
         "--env", "PATHRAY_LOG", "--", *map(str, flags)],
        env=head.environment | {"PYTHONPATH": paths, "PATHRAY_LOG": "json"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    seen: dict[tuple[str, str], float] = {}
    while job.poll() is None:
        with suppress(OSError):  # the agent begins to serve a little after the head
            seen |= scrape(head)
        time.sleep(0.2)
    out, err = job.communicate()
    assert job.returncode == 1, out + err

    names = {name.removesuffix("_total") for name, _ in seen}
    assert names == {*COUNTERS, *GAUGES} - {"pathray_tiles_lost"}  # none were
    assert seen["pathray_slides_total", "failed"] == 1
    assert seen["pathray_tiles_total", ""] > 10
    assert seen["pathray_read_bytes_total", ""] > 10_000
    assert seen["pathray_stage_seconds_total", "encode"] > 0
    busy = seen["pathray_encoder_busy_seconds_total", ""]
    assert busy == pytest.approx(seen["pathray_stage_seconds_total", "encode"], rel=1)

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
