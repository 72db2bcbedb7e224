"""A tile model: heads written and read back, what they answer, how they are registered."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import predicttiles
from jobs.tilefeatures import EncodedTiles
from pathray.encoders import load_encoder
from pathray.encoders.torch_encoder import TorchEncoder
from pathray.errors import RequestError
from pathray.evaluation.labelled import find_tiles
from pathray.evaluation.probe import linear_model
from pathray.finetuning.result import ClassRows, FoldOutcome
from pathray.finetuning.tiles.objects import put_ensemble, put_tuned
from pathray.finetuning.tiles.probing import fit_head
from pathray.finetuning.tiles.tuning import TileClassifier
from pathray.tilemodel import TileHead, TileModelSpec, load_tile_model, save_tile_model
from pathray.tileprediction import tile_predictions

LINEAR = TileModelSpec(
    method="linear",
    target="label",
    classes=("benign", "tumour"),
    encoder="mean_rgb",
    encoder_digests=("d" * 64,),
    precision="fp32",
    dim=6,
    width=96,
    height=64,
)


def head_of(seed: int, classes: int = 2, dim: int = 6) -> TileHead:
    rng = np.random.default_rng(seed)
    return TileHead(rng.normal(size=(classes, dim)), rng.normal(size=classes))


def vectors(n: int, seed: int = 0, dim: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


@pytest.fixture
def saved(tmp_path: Path) -> str:
    save_tile_model(str(tmp_path / "model"), LINEAR, [head_of(0), head_of(1), head_of(2)])
    return str(tmp_path / "model")


@settings(max_examples=15)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_a_head_says_what_the_regression_it_was_made_of_says(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(40) % classes
    known = rng.normal(5, 3, (40, 4)).astype(np.float32)
    known[:, 0] += labels
    known[:, 3] = 7  # a feature that tells nothing
    asked = rng.normal(5, 3, (10, 4)).astype(np.float32)
    told = fit_head(known, labels, classes).probabilities(asked)
    np.testing.assert_allclose(
        told, linear_model().fit(known, labels).predict_proba(asked), atol=1e-5
    )


def test_a_class_that_was_not_trained_on_is_never_predicted() -> None:
    labels = np.array([0, 2] * 10)
    told = fit_head(vectors(20), labels, 3).probabilities(vectors(5, seed=1))
    assert (told[:, 1] == 0).all()
    np.testing.assert_allclose(told.sum(axis=1), 1)


def test_a_model_read_back_answers_as_the_one_written(saved: str) -> None:
    loaded = load_tile_model(saved)
    assert loaded.spec == LINEAR
    assert len(loaded.heads) == 3
    for seed, head in enumerate(loaded.heads_on(0)):
        asked = vectors(20)
        np.testing.assert_array_equal(head.probabilities(asked), head_of(seed).probabilities(asked))
    again = save_tile_model(f"{saved}-again", LINEAR, loaded.heads)
    assert again == loaded.digest


def test_predictions_are_the_mean_of_the_models_with_their_range(saved: str) -> None:
    model = load_tile_model(saved)
    told = np.stack([head.probabilities(vectors(4)) for head in model.heads])
    rows = tile_predictions(model.spec.classes, list("abcd"), told, {}).to_pylist()
    assert [row["path"] for row in rows] == list("abcd")
    for n, row in enumerate(rows):
        assert row["probability_tumour"] == pytest.approx(told[:, n, 1].mean())
        assert row["probability_tumour_low"] == told[:, n, 1].min()
        assert row["probability_tumour_high"] == told[:, n, 1].max()
        assert row["predicted"] == model.spec.classes[int(told[:, n].mean(axis=0).argmax())]


def test_a_tile_that_cannot_be_read_has_a_row_that_says_so(saved: str) -> None:
    model = load_tile_model(saved)
    told = np.stack([head.probabilities(vectors(2)) for head in model.heads])
    rows = tile_predictions(model.spec.classes, list("abc"), told, {"b": "b is cut short"})
    first, lost, last = rows.to_pylist()
    assert lost == dict.fromkeys(first) | {"path": "b", "error": "b is cut short"}
    assert first["probability_tumour"] == pytest.approx(told[:, 0, 1].mean())
    assert last["probability_tumour"] == pytest.approx(told[:, 1, 1].mean())
    assert first["error"] is last["error"] is None


def test_another_encoder_is_refused_by_name(saved: str) -> None:
    model = load_tile_model(saved)
    model.refuse_other(0, "d" * 64, "--encoder mean_rgb")
    with pytest.raises(
        RequestError, match=r"mean_rgb dddddddddddd; --encoder uni is eeee.*differs"
    ):
        model.refuse_other(0, "e" * 64, "--encoder uni")


def test_what_is_not_a_whole_tile_model_is_refused_in_one_line(saved: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no tile model: .*does not exist"):
        load_tile_model(str(tmp_path))
    heads = Path(saved, "heads.safetensors")
    arrays = safetensors.numpy.load(heads.read_bytes())
    arrays["bias"][0, 0] += 1
    heads.write_bytes(safetensors.numpy.save(arrays))
    with pytest.raises(RequestError, match="is damaged"):
        load_tile_model(saved)
    heads.write_bytes(b"half")
    with pytest.raises(RequestError, match="no tile model"):
        load_tile_model(saved)
    description = Path(saved, "tilemodel.json")
    description.write_text(json.dumps(json.loads(description.read_text()) | {"format": 9}))
    with pytest.raises(RequestError, match="has format 9; this version reads 1"):
        load_tile_model(saved)


def test_heads_that_do_not_fit_the_description_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 classes and vectors of 6"):
        save_tile_model(str(tmp_path), LINEAR, [head_of(0, classes=3)])
    two, full = [head_of(0), head_of(1)], LINEAR.model_copy(update={"method": "full"})
    with pytest.raises(ValueError, match="1 encoders for 2 heads"):
        save_tile_model(str(tmp_path), full, two)
    assert not list(tmp_path.iterdir())


def outcome(fold: str) -> FoldOutcome:
    none = ClassRows(bags=(), patients=(), labels=(), probabilities=())
    return FoldOutcome(
        fold=fold,
        training_bags=1,
        history=(),
        best_epoch=0,
        validation=none,
        predictions={},
        curves={},
        survival=None,
        attention=(),
        digest="",
        seconds=0.0,
    )


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[TileClassifier]]:
    """A run's folder with two folds of a whole encoder and the model made of them."""
    out, models, digests = str(tmp_path_factory.mktemp("tuned")), [], []
    for seed in (0, 1):
        encoder = load_encoder(
            "timm/test_vit", random_init=True, seed=seed, precision="fp32", device="cpu"
        )
        assert isinstance(encoder, TorchEncoder)
        models.append(TileClassifier(encoder, 2).eval())
        put_tuned(out, outcome(str(seed)), encoder.spec, models[-1])
        described = Path(out, f"fold-{seed}/encoder/encoder.json").read_text()
        digests.append(json.loads(described)["digest"])
    told = {"method": "full", "encoder": "timm/test_vit", "encoder_digests": tuple(digests)}
    spec = LINEAR.model_copy(update=told | {"dim": encoder.dim, "width": 160, "height": 160})
    put_ensemble(out, f"{out}/model", spec, ["0", "1"])
    return out, models


def test_each_head_of_whole_encoders_answers_as_its_fold_did(
    tuned: tuple[str, list[TileClassifier]],
) -> None:
    import torch

    out, models = tuned
    tiles = np.random.default_rng(0).integers(0, 255, (3, 160, 160, 3), np.uint8)
    model = load_tile_model(f"{out}/model")
    for place, (uri, mine) in enumerate(zip(model.encoder_uris(), models, strict=True)):
        encoder = load_encoder(uri, precision="fp32", device="cpu")
        model.refuse_other(place, encoder.digest, uri)
        (head,) = model.heads_on(place)
        with torch.inference_mode():
            expected = mine(torch.from_numpy(tiles)).softmax(1).numpy()
        np.testing.assert_allclose(head.probabilities(encoder(tiles)), expected, atol=1e-5)


def test_a_model_of_whole_encoders_is_whole_without_its_folds(
    tuned: tuple[str, list[TileClassifier]], tmp_path: Path
) -> None:
    out, _ = tuned
    moved = Path(shutil.copytree(f"{out}/model", tmp_path / "moved"))
    model = load_tile_model(str(moved))
    assert model.encoder_uris() == [f"{moved}/encoders/{k}" for k in (0, 1)]
    assert model.digest == load_tile_model(f"{out}/model").digest
    for place, uri in enumerate(model.encoder_uris()):
        model.refuse_other(place, load_encoder(uri, precision="fp32").digest, uri)


def test_tiles_to_predict_come_from_a_folder_or_a_table_without_labels(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "deep/b.JPG", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert find_tiles(str(tmp_path)) == (f"{tmp_path}/a.png", f"{tmp_path}/deep/b.JPG")
    table = tmp_path / "tiles.csv"
    table.write_text("path\ndeep/b.JPG\n")
    assert find_tiles(str(table)) == (f"{tmp_path}/deep/b.JPG",)
    table.write_text("file\na.png\n")
    with pytest.raises(RequestError, match=r"--tiles: .* needs the column path"):
        find_tiles(str(table))
    with pytest.raises(RequestError, match=r"--tiles: .*holds no tiles"):
        find_tiles(str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match=r"--tiles: .*gone.csv does not exist"):
        find_tiles(str(tmp_path / "gone.csv"))


def test_the_digest_names_what_was_learnt_not_where_it_lies(saved: str) -> None:
    model = load_tile_model(saved)
    moved = save_tile_model(f"{saved}-moved", LINEAR, model.heads)
    assert moved == model.digest
    other = replace(model.heads[0], bias=model.heads[0].bias + 1)
    assert save_tile_model(f"{saved}-other", LINEAR, [other, *model.heads[1:]]) != moved


def test_a_tile_that_one_pass_of_several_could_not_read_is_left_out_of_all(
    saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = load_tile_model(saved)
    encoders = tuple(letter * 64 for letter in "ab")
    spec = one.spec.model_copy(update={"method": "full", "encoder_digests": encoders})
    model = replace(one, spec=spec, heads=one.heads[:2])
    lost = iter([{"b": "gone"}, {}])

    def passing(tiles: list[str], *_: object) -> Iterator[EncodedTiles]:
        failed = next(lost)
        kept = [row for row, tile in enumerate(tiles) if tile not in failed]
        yield EncodedTiles(tuple(tiles[row] for row in kept), vectors(3)[kept], failed)

    monkeypatch.setattr(predicttiles, "tile_vectors", passing)
    told, failed = predicttiles._told(model, list("abc"), [(None, None)] * 2, None)  # type: ignore
    assert failed == {"b": "gone"}
    expected = np.stack([head.probabilities(vectors(3)) for head in model.heads])
    np.testing.assert_allclose(told, expected[:, [0, 2]])
