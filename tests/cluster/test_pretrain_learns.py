"""A tiny encoder, trained for minutes on real tissue, beats its own random start."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import main

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from written_shards import write_shard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SMALL = ("--size", "tiny", "--input-size", "64", "--batch-size", "32", "--num-workers", "0")


@pytest.fixture
def halves(shared: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Shards of half of the groups of LC25000's lung tiles, and the others, labelled.

    The tiles are augmented copies of few originals, a group each: no original that the probe
    asks about was ever trained on, on either side of the probe's own folds.
    """
    source = shared / "data" / "lc25000-lung"
    rows = list(csv.DictReader((source / "labels.csv").open()))
    groups = sorted({row["group"] for row in rows})
    np.random.default_rng(0).shuffle(groups)
    trained = set(groups[: len(groups) // 2])
    tiles, labelled = tmp_path / "tiles", tmp_path / "labelled"
    tiles.mkdir()
    labelled.mkdir()
    mine = [(source / row["path"]).read_bytes() for row in rows if row["group"] in trained]
    for number in range(0, len(mine), 50):
        write_shard(tiles, f"lung-{number:04d}", mine[number : number + 50], side=224)
    (labelled / "images").symlink_to(source)
    with (labelled / "labels.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for row in rows:
            if row["group"] not in trained:
                writer.writerow([f"images/{row['path']}", row["label"], row["group"]])
    return tiles, labelled


def pretrain(*flags: object) -> None:
    assert main(["pretrain", *map(str, flags)]) == 0


def test_an_encoder_learns_what_its_random_start_did_not_know(halves, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    tiles, labelled = halves
    tokenizer, run = tmp_path / "tokenizer", tmp_path / "run"
    teacher = ("--objective", "vqkd", "--teacher", "timm/vit_tiny_patch16_224", "--random-init")
    codes = ("--codebook-size", 256, "--steps", 200, "--lr", "5e-4")
    pretrain("--tiles", tiles, "--out", tokenizer, *SMALL, *teacher, *codes)
    pretrain(
        *("--tiles", tiles, "--out", run, *SMALL, "--tokenizer", tokenizer / "encoder"),
        *("--steps", 400, "--lr", "1e-3", "--probe", labelled, "--probe-every", 200),
    )
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    start, end = rows[0], rows[-1]
    assert start["step"] == 0
    assert end["step"] == 400
    # Of three classes; measured: linear 0.74 to 0.81, neighbours 0.76 to 0.79.
    assert end["probe_linear"] > start["probe_linear"] + 0.03
    assert end["probe_knn"] > start["probe_knn"]
