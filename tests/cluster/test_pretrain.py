"""`pathray pretrain` on a real Ray: its workers, what it leaves, how it ends."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pathray.encoders import load_encoder
from pathray.pretraining.rowgroups import find_row_groups

SMALL = ("--size", "tiny", "--input-size", "32", "--batch-size", "8", "--steps", "6")
OFTEN = ("--log-every", "1", "--checkpoint-every", "2")
VQKD = ("--objective", "vqkd", "--teacher", "timm/test_vit", "--random-init", "--codebook-size", 32)


@pytest.fixture(scope="module", autouse=True)
def mlflow_store(tmp_path_factory: pytest.TempPathFactory):
    """A tracking database of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


@pytest.fixture
def tiles(pathray, slides: Path, tmp_path: Path) -> Path:
    out = tmp_path / "tiles"
    small = ("--tile-size", "32", "--mpp", "1.0", "--tiles-per-slide", "40")
    assert pathray("tile", "--slides", slides, "--out", out, *small).code == 0
    return out


def curve(out: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


def mlflow_run(out: Path, store: str):
    from mlflow import MlflowClient

    return MlflowClient(store).get_run(json.loads((out / "_mlflow.json").read_text())["run_id"])


def test_tokenizer_then_encoder_then_embeddings(pathray, tiles, slides, tmp_path, mlflow_store):
    tokenizer, encoder, vectors = (tmp_path / name for name in ("tokenizer", "encoder", "vectors"))
    asked = ("pretrain", "--tiles", tiles, *SMALL, *OFTEN)
    first = pathray(*asked, *VQKD, "--out", tokenizer, "--num-workers", 0)
    assert first.code == 0, first
    assert first.out.startswith("pretrain: 6 steps done, loss ")
    trained = pathray(*asked, "--tokenizer", tokenizer / "encoder", "--out", encoder)
    assert trained.code == 0, trained
    ran = pathray("embed", "--tiles", tiles, "--out", vectors, "--encoder", encoder / "encoder")
    assert ran.code == 0, ran
    table = pq.read_table(next(vectors.glob("[!_]*.parquet")))
    about = json.loads(table.schema.metadata[b"pathray"])
    learned = load_encoder(str(encoder / "encoder"))
    assert about["identity"]["encoder_digest"] == learned.digest
    assert learned.mpp == 1.0
    held = mlflow_run(encoder, mlflow_store)
    assert held.info.status == "FINISHED"
    assert held.data.params["objective"] == "beitv2"
    assert held.data.params["batch_size"] == "8"
    assert held.data.metrics["loss"] == pytest.approx(curve(encoder)[6])
    assert {"learning_rate", "gradient_norm", "data_wait", "tiles_per_second"} <= set(
        held.data.metrics
    )
    assert (encoder / "pictures" / "views-00000000.png").exists()


def test_two_workers_learn_what_this_process_learns_alone(pathray, tiles, tmp_path):
    asked = ("pretrain", "--tiles", tiles, *SMALL, *OFTEN, *VQKD)
    assert pathray(*asked, "--out", tmp_path / "two", "--num-workers", 2).code == 0
    assert pathray(*asked, "--out", tmp_path / "none", "--num-workers", 0).code == 0
    assert curve(tmp_path / "two") == pytest.approx(curve(tmp_path / "none"), rel=1e-4)


def test_a_finished_run_is_not_made_again(pathray, tiles, tmp_path, mlflow_store):
    asked = ("pretrain", "--tiles", tiles, *SMALL, *OFTEN, *VQKD, "--out", tmp_path / "out")
    assert pathray(*asked, "--num-workers", 0).code == 0
    run, before = mlflow_run(tmp_path / "out", mlflow_store).info.run_id, curve(tmp_path / "out")
    again = pathray(*asked)
    assert again.code == 0, again
    assert again.out.startswith("pretrain: 6 steps done (6 of them before this run), loss ")
    assert curve(tmp_path / "out") == before
    assert mlflow_run(tmp_path / "out", mlflow_store).info.run_id == run


def test_a_loss_that_is_not_finite_is_one_line_and_no_second_try(pathray, tiles, tmp_path):
    ran = pathray(
        *("pretrain", "--tiles", tiles, *SMALL, *OFTEN, *VQKD),
        *("--out", tmp_path / "out", "--lr", "1e30", "--warmup", "4"),
    )
    assert ran.code == 1
    last = ran.err.strip().splitlines()[-1]
    assert last.startswith("pathray: the ")
    assert "is not finite" in last
    assert "a worker was lost" not in ran.err


def test_a_damaged_shard_stops_the_run_and_is_named(pathray, tiles, tmp_path):
    groups = find_row_groups(str(tiles))
    shard = Path(groups.uris[0])
    data = bytearray(shard.read_bytes())
    data[groups.start[0] : groups.start[0] + 64] = bytes(64)
    shard.write_bytes(data)
    given = ("--mean", ".7,.5,.7", "--std", ".2,.2,.2")
    ran = pathray(
        *("pretrain", "--tiles", tiles, *SMALL, *OFTEN, *VQKD, *given),
        *("--out", tmp_path / "out", "--num-workers", 2),
    )
    assert ran.code == 1
    assert f"{shard} is damaged" in ran.err.strip().splitlines()[-1]
