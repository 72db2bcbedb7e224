"""Checkpoints are complete or absent, whatever happens while they are written."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pathray import storage
from pathray.errors import PathrayError
from pathray.pretraining import checkpoints as module
from pathray.pretraining.checkpoints import MANIFEST, MODEL, Checkpoint, Checkpoints


def made(step: int) -> Checkpoint:
    weight = torch.full((3,), float(step))
    return Checkpoint(step, {"weight": weight}, {"weight/exp_avg": weight * 2}, {"seed": 7})


def silent(text: str) -> None:
    raise AssertionError(text)


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoints:
    saved = Checkpoints(str(tmp_path / "checkpoints"), keep=2)
    for step in (10, 20, 30):
        saved.save(made(step))
    return saved


@pytest.mark.parametrize("where", ["", "memory://checkpoints-"])
def test_what_is_saved_is_loaded(where: str, tmp_path: Path):
    held = Checkpoints(f"{where}{tmp_path}/c")
    assert held.newest(silent) is None
    held.save(made(5))
    found = held.newest(silent)
    assert found is not None
    assert found.step == 5
    assert torch.equal(found.model["weight"], torch.full((3,), 5.0))
    assert torch.equal(found.optimiser["weight/exp_avg"], torch.full((3,), 10.0))
    assert found.state["seed"] == 7


def test_the_newest_are_kept_and_nothing_is_left_of_the_others(saved: Checkpoints):
    assert saved.steps() == [20, 30]
    assert sorted(path.name for path in Path(saved.uri).iterdir()) == ["00000020", "00000030"]


def test_a_checkpoint_without_its_manifest_is_not_there(saved: Checkpoints):
    Path(saved.uri, "00000030", MANIFEST).unlink()
    found = saved.newest(silent)
    assert found is not None
    assert found.step == 20


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-3]),
        lambda file: file.write_bytes(b"\0" * file.stat().st_size),
        lambda file: file.unlink(),
    ],
)
@pytest.mark.parametrize("part", [MODEL, "state.json", MANIFEST])
def test_a_torn_checkpoint_is_passed_over(
    saved: Checkpoints, damage: Callable[[Path], None], part: str
):
    damage(Path(saved.uri, "00000030", part))
    found = saved.newest(lambda text: None)
    assert found is not None
    assert found.step == 20


def test_a_damaged_checkpoint_is_told(saved: Checkpoints):
    Path(saved.uri, "00000030", MODEL).write_bytes(b"?")
    told: list[str] = []
    saved.newest(told.append)
    assert told == [f"the checkpoint of step 30 is passed over: {MODEL} is not what was written"]


def test_a_store_that_fails_while_saving_is_asked_again(
    saved: Checkpoints, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "WAITS", (0.0, 0.0))
    put, failures = storage.put_bytes, [OSError("lost"), OSError("lost again")]

    def flaky(uri: str, data: bytes) -> None:
        if uri.endswith("optimiser.safetensors") and failures:
            raise failures.pop()
        put(uri, data)

    monkeypatch.setattr(storage, "put_bytes", flaky)
    saved.save(made(40))
    assert saved.steps() == [30, 40]


def test_a_store_that_refuses_for_good_is_a_clear_error_and_costs_no_older_checkpoint(
    saved: Checkpoints, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "WAITS", (0.0,))

    def refuse(uri: str, data: bytes) -> None:
        raise PermissionError("read only")

    monkeypatch.setattr(storage, "put_bytes", refuse)
    with pytest.raises(PathrayError, match=r"step 40 could not be stored: no permission for"):
        saved.save(made(40))
    assert saved.steps() == [20, 30]


def test_tensors_that_share_memory_are_saved(tmp_path: Path):
    whole = torch.arange(6.0)
    held = Checkpoints(str(tmp_path))
    held.save(Checkpoint(1, {"a": whole, "b": whole.view(2, 3), "c": whole.view(2, 3).T}, {}))
    found = held.newest(silent)
    assert found is not None
    assert torch.equal(found.model["c"], whole.view(2, 3).T)
