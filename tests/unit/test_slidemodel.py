"""An ensemble of slide models: written, read back, and what it answers."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathray.errors import RequestError
from pathray.mil.aggregator import Aggregator, AggregatorSettings
from pathray.mil.aggregators import build_aggregator
from pathray.mil.formats.bag import Made
from pathray.mil.head import Head
from pathray.modelregistry import RegistryAwayError, pin
from pathray.slidemodel import (
    SlideModel,
    cox_task,
    load_slide_model,
    nll_task,
    save_slide_model,
)
from pathray.survival.breslow import BreslowBaseline

MADE = Made(dim=6, encoder_digest="d" * 64, mpp=0.5, tile_size=224, encoder="mean_rgb")
BASELINE = BreslowBaseline(np.array([100.0, 400.0]), np.array([0.1, 0.5]), centre=0.3)


def head_of(
    seed: int, loss: str, outputs: int, aggregator: str = "abmil", **more: object
) -> tuple[Head, Aggregator]:
    chosen = AggregatorSettings(
        aggregator=aggregator, dim=6, outputs=outputs, hidden=8, attention=4
    )
    head = Head(settings=chosen, made=MADE, target="subtype", loss=loss, **more)  # type: ignore[arg-type]
    return head, build_aggregator(chosen, seed).eval()


def classifier(seed: int, aggregator: str = "abmil") -> tuple[Head, Aggregator]:
    return head_of(seed, "ce", 2, aggregator, classes=("glandular", "solid"))


def tiles(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float16)


@pytest.fixture
def saved(tmp_path: Path) -> str:
    save_slide_model(str(tmp_path / "model"), [classifier(0), classifier(1), classifier(2)])
    return str(tmp_path / "model")


def test_a_model_read_back_answers_as_the_one_written(tmp_path: Path) -> None:
    heads = (classifier(0), classifier(1))
    digest = save_slide_model(str(tmp_path), heads)
    loaded = load_slide_model(str(tmp_path))
    assert loaded.digest == digest
    before = SlideModel(heads, digest).predict(tiles(50))
    after = loaded.predict(tiles(50))
    np.testing.assert_array_equal(before.probabilities, after.probabilities)
    np.testing.assert_array_equal(before.attention, after.attention)


def test_every_head_answers_by_itself_and_attention_sums_to_one(saved: str) -> None:
    found = load_slide_model(saved).predict(tiles(70))
    assert found.probabilities is not None
    assert found.probabilities.shape == (3, 2)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert np.ptp(found.probabilities[:, 0]) > 0
    assert found.attention.shape == (70,)
    assert found.attention.sum() == pytest.approx(1, abs=1e-5)
    best = found.most_attended(3)
    assert found.attention[best[0]] == found.attention.max()


def test_attention_of_several_branches_is_that_of_the_predicted_class() -> None:
    head, model = classifier(3, "clam_mb")
    found = SlideModel(((head, model),), "").predict(tiles(20))
    bag = torch.from_numpy(tiles(20).astype(np.float32))
    with torch.inference_mode():
        each = model.normalised(model(bag, torch.tensor([0, 20])))
    assert found.probabilities is not None
    predicted = int(found.probabilities[0].argmax())
    np.testing.assert_allclose(found.attention, each[:, predicted], rtol=1e-5)


def test_a_cox_ensemble_gives_centred_risks_and_falling_curves(tmp_path: Path) -> None:
    heads = [head_of(s, "cox", 1, task=cox_task(BASELINE)) for s in range(3)]
    save_slide_model(str(tmp_path), heads, time_unit="days")
    model = load_slide_model(str(tmp_path))
    found = model.predict(tiles(30))
    assert model.time_unit == "days"
    assert found.risks is not None
    assert found.curves is not None
    assert found.times is not None
    np.testing.assert_array_equal(found.times, [0, 100, 400])
    assert found.curves[:, 0].tolist() == [1, 1, 1]
    np.testing.assert_allclose(found.curves[:, 2], np.exp(-0.5 * np.exp(found.risks)))


def test_a_discrete_time_ensemble_steps_at_its_own_edges(tmp_path: Path) -> None:
    edges = [np.array([100.0, 200.0]), np.array([150.0, 300.0])]
    heads = [head_of(s, "nll", 3, task=nll_task(e)) for s, e in enumerate(edges)]
    save_slide_model(str(tmp_path), heads)
    found = load_slide_model(str(tmp_path)).predict(tiles(30))
    assert found.times is not None
    assert found.curves is not None
    assert found.times.tolist() == [0, 100, 150, 200, 300]
    assert found.curves[1, 1] == 1  # the second head has no edge at 100
    assert found.curves[0, 1] < 1
    assert found.risks is not None
    assert (found.risks < 0).all()


@settings(max_examples=20)
@given(st.integers(1, 40))
def test_a_bag_of_any_size_is_answered(n: int) -> None:
    found = SlideModel((classifier(0),), "").predict(tiles(n, seed=n))
    assert found.attention.sum() == pytest.approx(1, abs=1e-5)


def test_wrong_bags_are_refused(saved: str) -> None:
    model = load_slide_model(saved)
    with pytest.raises(RequestError, match="width 6"):
        model.predict(np.zeros((4, 5), np.float32))
    with pytest.raises(RequestError, match="no tiles"):
        model.predict(np.zeros((0, 6), np.float32))
    with pytest.raises(RequestError, match="not finite"):
        model.predict(np.full((2, 6), np.nan, np.float32))
    with pytest.raises(RequestError, match="encoder_digest differs"):
        model.refuse_other(Made(dim=6, encoder_digest="e" * 64, mpp=0.5, tile_size=224))


def test_heads_that_do_not_belong_together_are_not_written(tmp_path: Path) -> None:
    other = head_of(1, "ce", 2, classes=("a", "b"))
    with pytest.raises(ValueError, match="differ in classes"):
        save_slide_model(str(tmp_path), [classifier(0), other])
    with pytest.raises(ValueError, match="lacks centre"):
        save_slide_model(str(tmp_path), [head_of(0, "cox", 1)])
    assert not list(tmp_path.iterdir())


def test_a_mixed_or_missing_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    save_slide_model(str(tmp_path / "one"), [classifier(0)])
    save_slide_model(str(tmp_path / "two"), [classifier(1)])
    for name in ("head.json", "model.safetensors"):
        (tmp_path / "one/heads/0" / name).write_bytes(
            (tmp_path / "two/heads/0" / name).read_bytes()
        )
    with pytest.raises(RequestError, match="the copy is mixed"):
        load_slide_model(str(tmp_path / "one"))
    with pytest.raises(RequestError, match="nothing"):
        load_slide_model(str(tmp_path / "nothing"))


def test_a_registered_model_is_found_by_its_alias_and_pinned_to_its_version(
    saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    from mlflow import MlflowClient

    client = MlflowClient()
    client.create_registered_model("subtype")
    client.create_model_version("subtype", source=saved)
    client.set_registered_model_alias("subtype", "production", "1")
    assert pin("models:/subtype@production") == "models:/subtype/1"
    loaded = load_slide_model("models:/subtype@production")
    assert loaded.digest == load_slide_model(saved).digest
    with pytest.raises(RequestError, match="staging") as told:
        load_slide_model("models:/subtype@staging")
    assert not isinstance(told.value, RegistryAwayError)
    with pytest.raises(RequestError, match="neither"):
        pin("models:/subtype/latest/../x")


def test_a_registry_that_does_not_answer_is_told_from_a_name_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nobody)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryAwayError, match="subtype@production"):
        pin("models:/subtype@production")
    with pytest.raises(RequestError, match="cannot download"):
        load_slide_model("models:/subtype/1")
