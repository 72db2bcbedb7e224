"""What is wrong with a request to pretrain is found before Ray or MLflow are started."""

import sys
from pathlib import Path

import pytest
from small_runs import write_tiles

from jobs.cli import main
from jobs.cluster import Capacity
from jobs.pretrain import Flags
from jobs.pretrainfollow import Snapshot
from jobs.pretrainrequest import settle
from jobs.pretrainrun import fleet_of
from jobs.pretrainworkers import Fleet
from pathray.errors import RequestError

TEACHER = ("--objective", "vqkd", "--teacher", "timm/test_vit", "--random-init")
SMALL = ("--size", "tiny", "--input-size", "32", "--batch-size", "8")


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiles(tmp_path_factory.mktemp("flags") / "tiles")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "beitv2 needs --tokenizer: train one with --objective vqkd"),
        (("--objective", "vqkd"), "vqkd needs --teacher: an encoder with patch tokens"),
        (("--objective", "dino"), "unknown pretraining objective 'dino'; known: beitv2, vqkd"),
        ((*TEACHER, "--tokenizer", "t"), "--tokenizer is for --objective beitv2"),
        ((*TEACHER, "--steps", "3", "--epochs", "1"), "give --steps or --epochs, not both"),
        ((*TEACHER, "--mean", ".5,.5,.5"), "give --mean and --std together"),
        ((*TEACHER, "--mean", "127,1,1", "--std", "1,1,1"), "--mean '127,1,1': must be in 0..1"),
        ((*TEACHER, "--input-size", "100"), "must be a multiple of the patch size, 16"),
        (
            (*TEACHER, "--batch-size", "10", "--num-workers", "4"),
            "--batch-size 10 does not divide over 4 workers: take 8 or 12",
        ),
        ((*TEACHER, "--size", "giant"), "unknown size 'giant'; known: base, large, small, tiny"),
        ((*TEACHER, "--steps", "5", "--warmup", "9"), "--warmup 9 is longer than the run of 5"),
        (("--objective", "vqkd", "--teacher", "nobody"), "unknown encoder 'nobody'"),
        (("--objective", "vqkd", "--teacher", "mean_rgb"), "has no patch tokens"),
        (("--tokenizer", "nowhere"), "nowhere/tokenizer.json does not exist"),
        ((*TEACHER, "--probe", "nowhere"), "--probe: "),
        ((*TEACHER, "--device", "cuda", "--num-workers", "0"), "--device cuda: torch finds no GPU"),
    ],
)
def test_a_wrong_request_is_one_line(
    flags: tuple[str, ...],
    says: str,
    tiles: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before = set(sys.modules)
    out = tmp_path / "out"
    small = [] if {"--size", "--input-size", "--batch-size"} & set(flags) else SMALL
    assert main(["pretrain", "--tiles", str(tiles), "--out", str(out), *small, *flags]) == 2
    told = capsys.readouterr().err
    assert told.startswith("pathray: ")
    assert told.count("\n") == 1
    assert says in told
    assert not out.exists()
    assert "ray.train" not in set(sys.modules) - before


def test_a_folder_without_tiles_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    asked = ["pretrain", "--tiles", tmp_path / "empty", "--out", tmp_path / "out", *TEACHER]
    assert main([str(word) for word in asked]) == 2
    assert "holds no tiles: make them with `pathray tile --out`" in capsys.readouterr().err


def test_a_run_of_other_settings_is_refused_by_name(
    tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("jobs.pretrainrun.Follower", _Nobody)
    monkeypatch.setattr("jobs.pretrainrun.train", lambda *_: None)
    asked = ["pretrain", "--tiles", tiles, "--out", tmp_path / "out", *TEACHER, *SMALL]
    asked = [str(word) for word in asked] + ["--num-workers", "0", "--steps", "4"]
    assert main(asked) == 0
    # How a run is carried out is free.
    assert main([*asked, "--micro-batch", "2", "--checkpoint-every", "1", "--keep", "1"]) == 0
    assert main([*asked, "--seed", "9"]) == 2
    assert "was made with other settings: " in capsys.readouterr().err
    assert main([*asked, "--lr", "0.5"]) == 2
    assert "lr is 3.125e-06 there and 0.5 now" in capsys.readouterr().err


class _Nobody:
    """Hears nothing."""

    def __init__(self, *_: object) -> None:
        self.take = self.summary = lambda *_: None

    def __enter__(self) -> "_Nobody":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_defaults_are_the_authors_in_proportion(tiles: Path, tmp_path: Path):
    flags = Flags(
        tiles=str(tiles),
        out=str(tmp_path / "out"),
        objective="vqkd",
        teacher="timm/test_vit",
        random_init=True,
        size="tiny",
        input_size=32,
        batch_size=9,
    )
    asked = settle(flags).training
    assert asked.steps == 400  # 100 epochs of 36 tiles
    assert asked.warmup == 40
    assert asked.lr == pytest.approx(2e-4 * 9 / 512)
    assert asked.betas == (0.9, 0.99)
    assert asked.crop_scale == (0.08, 1.0)
    assert all(0.2 < level < 0.8 for level in asked.mean)


def test_a_batch_without_its_numbers_is_refused_for_every_number_of_workers():
    with pytest.raises(ValueError, match="does not divide over 3 workers: take 6 or 9"):
        Flags(
            tiles="t", out="o", objective="vqkd", teacher="t", batch_size=7, num_workers=3
        )  # fmt: skip


@pytest.mark.parametrize(
    ("snapshot", "line"),
    [
        (Snapshot(100, 8), "pretrain: starting"),
        (Snapshot(100, 8, first=40, step=40), "pretrain: step 40/100"),
        (
            Snapshot(1000, 8, first=0, step=400, loss=1.5, data_wait=0.031, rate=48.0),
            "pretrain: step 400/1,000 · loss 1.5000 · 48 tiles/s · 3% waiting for data · "
            "1:40 to go",
        ),
    ],
)
def test_the_state_of_a_run_is_one_line(snapshot: Snapshot, line: str):
    assert snapshot.line("pretrain") == line


@pytest.mark.parametrize(
    ("workers", "gpu", "nodes", "cpus"),
    [
        (1, False, [{"CPU": 8}], 8),
        (3, False, [{"CPU": 8}], 2),
        (3, False, [{"CPU": 16}, {"CPU": 16}], 8),  # ten each would leave no place for the third
        (8, True, [{"CPU": 64, "GPU": 4}, {"CPU": 32, "GPU": 4}], 8),
        (8, True, [{"CPU": 64, "GPU": 8}, {"CPU": 64}], 8),
        (4, False, [{"CPU": 2}], 1),
        (1, False, [], 1),
    ],
)
def test_processes_share_the_cpus_of_their_nodes(
    workers: int, gpu: bool, nodes: list[dict[str, float]], cpus: int
):
    assert Fleet(workers, gpu).cpus_each(nodes) == cpus


def test_gpus_that_a_cluster_can_still_start_may_be_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "a cluster's")
    flags = Flags(tiles="t", out="o", objective="vqkd", teacher="t", num_workers=8, device="cuda")
    assert fleet_of(flags, Capacity(0, 0, 1, 1, grows=True), 256) == Fleet(8, gpu=True)
    with pytest.raises(RequestError, match="--device cuda: the cluster has no GPU"):
        fleet_of(flags, Capacity(64, 0, 2, 32), 256)
