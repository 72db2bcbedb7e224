"""A tiny encoder, trained for minutes on real tissue, beats its own random start."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.cli import main
from pathray.encoders.directory import write_directory
from pathray.encoders.loading import load_encoder

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from written_shards import write_shard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SMALL = ("--size", "tiny", "--input-size", "64", "--batch-size", "32", "--num-workers", "0")
TISSUE = (0.72, 0.53, 0.73)
"""About the mean colour of an H&E tile."""


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


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """An encoder without any knowledge: a patch token is a random projection of the patch.

    A ViT of random weights would do, were its tokens not mostly alike, position for position.
    Here blocks add nothing and the mean colour of tissue is taken off, so that tokens differ
    as the colours and edges of their patches do.
    """
    encoder = load_encoder("timm/vit_tiny_patch16_224", random_init=True, seed=0)
    state = {name: tensor.float() for name, tensor in encoder.model.state_dict().items()}
    for name in state:
        if name == "pos_embed" or ".attn.proj." in name or ".mlp.fc2." in name:
            state[name] = torch.zeros_like(state[name])
    weight = state["patch_embed.proj.weight"]
    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) / 28
    mean, std = torch.tensor(encoder.spec.mean), torch.tensor(encoder.spec.std)
    state["patch_embed.proj.weight"] = drawn
    state["patch_embed.proj.bias"] = -(drawn.sum((2, 3)) @ ((torch.tensor(TISSUE) - mean) / std))
    write_directory(str(tmp_path / "teacher"), encoder.spec, state)
    return tmp_path / "teacher"


def pretrain(*flags: object) -> None:
    assert main(["pretrain", *map(str, flags)]) == 0


def test_an_encoder_learns_what_its_random_start_did_not_know(
    halves: tuple[Path, Path], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    tiles, labelled = halves
    tokenizer, run = tmp_path / "tokenizer", tmp_path / "run"
    codes = ("--objective", "vqkd", "--teacher", teacher, "--codebook-size", 256, "--lr", "5e-4")
    pretrain("--tiles", tiles, "--out", tokenizer, *SMALL, *codes, "--steps", 200)
    pretrain(
        *("--tiles", tiles, "--out", run, *SMALL, "--tokenizer", tokenizer / "encoder"),
        *("--steps", 1000, "--lr", "1e-3", "--probe", labelled, "--probe-every", 500),
    )
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    start, end = rows[0], rows[-1]
    assert start["step"] == 0
    assert end["step"] == 1000
    # Balanced accuracy over three classes, measured with two seeds: 0.745, 0.793, 0.797 and
    # 0.744, 0.800, 0.808. Nearest neighbours stay where they were, at about 0.80.
    assert end["probe_linear"] > start["probe_linear"] + 0.02
    # Chance is 2 ln 256: two predictions over 256 codes.
    assert end["loss"] < 0.5 * 2 * np.log(256)
