"""The training loop: the curve depends on the request alone, not on deaths, workers or cuts."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import (
    CODES,
    STEPS,
    last_checkpoint,
    practice,
    run,
    run_on_two_processes,
    training,
    write_tiles,
)

from pathray.encoders import load_encoder
from pathray.evaluation.labelled import find_labelled
from pathray.pretraining.checkpoints import Checkpoint, Checkpoints
from pathray.pretraining.curve import NotFiniteError
from pathray.pretraining.events import Event, Finished, Picture, Row, Started
from pathray.pretraining.history import read_history
from pathray.pretraining.loop import train
from pathray.pretraining.parallel import World
from pathray.pretraining.rowgroups import find_row_groups
from pathray.pretraining.run import put_row_groups
from pathray.tilestore import PNG, encode_image

OF_THE_MACHINE = {"data_wait", "memory_gb", "tiles_per_second"}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiles(tmp_path_factory.mktemp("pretraining") / "tiles")


@pytest.fixture(scope="module")
def undisturbed(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer trained by one process at one go."""
    out = tmp_path_factory.mktemp("undisturbed")
    run(training(tiles), practice(out))
    return out


@pytest.fixture(scope="module")
def two_processes(tiles: Path, undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by two processes, with micro-batches; and one that is left half done."""
    folder = tmp_path_factory.mktemp("two")
    asked = training(tiles)
    sharded = practice(folder / "fsdp", parallel="fsdp", micro_batch=2, log_every=2)
    run_on_two_processes(
        [(asked, practice(folder / "ddp", micro_batch=3)), (asked, sharded)], folder
    )
    return folder


def curve(out: Path) -> list[dict[str, float]]:
    rows = read_history(str(out))
    return [{k: v for k, v in row.items() if k not in OF_THE_MACHINE} for row in rows]


def assert_same(mine: Checkpoint, theirs: Checkpoint) -> None:
    for held, expected in ((mine.model, theirs.model), (mine.optimiser, theirs.optimiser)):
        assert set(held) == set(expected)
        assert all(torch.equal(held[name], expected[name]) for name in expected)


def assert_close(mine: Checkpoint, theirs: Checkpoint) -> None:
    for name, tensor in theirs.model.items():
        torch.testing.assert_close(mine.model[name], tensor, atol=2e-5, rtol=1e-3)


class Death(BaseException):
    """What ends a process in the middle."""


def die_after(asked, how, step: int) -> None:
    def tell(event: Event) -> None:
        if isinstance(event, Row) and event.step == step:
            raise Death

    put_row_groups(how.out, find_row_groups(asked.tiles))
    with pytest.raises(Death):
        train(asked, how, World(), tell)


def test_a_run_that_died_twice_is_the_undisturbed_run_bit_by_bit(
    tiles: Path, undisturbed: Path, tmp_path: Path
):
    asked, how = training(tiles), practice(tmp_path)
    die_after(asked, how, 3)
    die_after(asked, how, 5)
    told = run(asked, how)
    assert next(event for event in told if isinstance(event, Started)).step == 4
    assert [event.step for event in told if isinstance(event, Row)] == [5, 6]
    assert curve(tmp_path) == curve(undisturbed)
    assert_same(last_checkpoint(tmp_path), last_checkpoint(undisturbed))
    encoder = "encoder/model.safetensors"
    assert (tmp_path / encoder).read_bytes() == (undisturbed / encoder).read_bytes()


def test_a_run_that_died_in_its_first_steps_begins_again(
    tiles: Path, undisturbed: Path, tmp_path: Path
):
    asked, how = training(tiles), practice(tmp_path)
    die_after(asked, how, 1)
    run(asked, how)
    assert curve(tmp_path) == curve(undisturbed)


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns(how: str, undisturbed: Path, two_processes: Path):
    mine, theirs = last_checkpoint(two_processes / how), last_checkpoint(undisturbed)
    assert mine.step == theirs.step == STEPS
    assert set(mine.model) == set(theirs.model)
    assert set(mine.optimiser) == set(theirs.optimiser)
    assert_close(mine, theirs)
    losses = {row["step"]: row["loss"] for row in read_history(str(two_processes / "ddp"))}
    expected = {row["step"]: row["loss"] for row in read_history(str(undisturbed))}
    assert losses == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_what_two_processes_began_one_goes_on_with(
    how: str, tiles: Path, undisturbed: Path, two_processes: Path, tmp_path: Path
):
    begun = Checkpoints(str(two_processes / how / "checkpoints")).read(4)
    Checkpoints(str(tmp_path / "checkpoints")).save(begun)
    told = run(training(tiles), practice(tmp_path))
    assert next(event for event in told if isinstance(event, Started)).step == 4
    assert_close(last_checkpoint(tmp_path), last_checkpoint(undisturbed))


def test_micro_batches_change_nothing(tiles: Path, undisturbed: Path, tmp_path: Path):
    run(training(tiles), practice(tmp_path, micro_batch=3))
    assert_close(last_checkpoint(tmp_path), last_checkpoint(undisturbed))


def test_masked_image_modelling_starts_at_twice_the_entropy_of_its_codes(
    tiles: Path, undisturbed: Path, tmp_path: Path
):
    asked = training(tiles, "beitv2", tokenizer=str(undisturbed / "encoder"))
    told = run(asked, practice(tmp_path, log_every=2, checkpoint_every=6))
    rows = [event for event in told if isinstance(event, Row)]
    assert rows[0].values["loss"] == pytest.approx(2 * math.log(CODES), rel=0.1)
    assert rows[-1].values["learning_rate"] < rows[0].values["learning_rate"]
    pictures = [event for event in told if isinstance(event, Picture)]
    assert [picture.name for picture in pictures] == ["views-00000000.png"]
    assert pictures[0].png.startswith(b"\x89PNG")
    assert isinstance(told[-1], Finished)
    encoder = load_encoder(str(tmp_path / "encoder"))
    vectors = encoder(np.zeros((2, 32, 32, 3), np.uint8))
    assert vectors.shape == (2, 192)


def test_bf16_learns_too(tiles: Path, tmp_path: Path):
    told = run(training(tiles, precision="bf16", steps=2), practice(tmp_path))
    rows = [event.values["loss"] for event in told if isinstance(event, Row)]
    assert all(math.isfinite(loss) for loss in rows)


def test_a_loss_that_is_not_finite_stops_the_run_at_the_last_good_checkpoint(
    tiles: Path, tmp_path: Path
):
    asked = training(tiles, lr=1e30, warmup=4)
    with pytest.raises(NotFiniteError, match=r"of step \d is not finite; .*--lr or --precision"):
        run(asked, practice(tmp_path))
    found = Checkpoints(str(tmp_path / "checkpoints")).newest(print)
    assert found is None or all(bool(t.isfinite().all()) for t in found.model.values())
    assert "encoder" not in {path.name for path in tmp_path.iterdir()}


def test_features_are_probed_before_training_and_while_it_goes_on(tiles: Path, tmp_path: Path):
    for label, level in (("pale", 220), ("dark", 40)):
        (tmp_path / "labelled" / label).mkdir(parents=True)
        for number in range(6):
            tile = np.full((32, 32, 3), level + number, np.uint8)
            name = tmp_path / "labelled" / label / f"{number}.png"
            name.write_bytes(encode_image(tile, PNG))
    labelled = tmp_path / "labelled"
    assert len(find_labelled(str(labelled))) == 12
    out = tmp_path / "out"
    run(training(tiles, steps=2), practice(out, probe=str(labelled), probe_every=2))
    rows = {row["step"]: row for row in read_history(str(out))}
    assert rows[0]["probe_linear"] == rows[2]["probe_linear"] == 1.0
    assert "probe_knn" not in rows[1]
    assert rows[2]["probe_knn_low"] <= rows[2]["probe_knn"] <= rows[2]["probe_knn_high"]
