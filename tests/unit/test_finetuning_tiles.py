"""Models of labelled tiles: folds by group, probes, and an encoder trained as a whole."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pathray.clinical.cohort import ClinicalCohort
from pathray.encoders import load_encoder
from pathray.encoders.torch_encoder import TorchEncoder
from pathray.errors import RequestError
from pathray.evaluation.labelled import find_labelled
from pathray.evaluation.sealed import seal
from pathray.finetuning.fold import Unlabelled
from pathray.finetuning.judging import judge, open_test
from pathray.finetuning.tiles.cohort import tile_cohort, tile_folds
from pathray.finetuning.tiles.probing import probe_fold
from pathray.finetuning.tiles.tuning import (
    TileClassifier,
    TuningPlan,
    tile_probabilities,
    tune,
)
from pathray.pretraining.parallel import World

PLAN = TuningPlan(rate=3e-3, batch=16, epochs=6, patience=6)


def draw_tiles(folder: Path, count: int = 48, side: int = 160) -> Path:
    """Tiles of two classes, told apart by colour, two of each group; a table of them."""
    rng = np.random.default_rng(0)
    lines = ["path,label,group"]
    for number in range(count):
        label = ("pink", "violet")[number // 2 % 2]
        colour = np.array([200, 160, 220] if label == "pink" else [150, 90, 160])
        tile = np.clip(rng.normal(colour, 25, (side, side, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:02}.png"), tile)
        lines.append(f"{number:02}.png,{label},g{number // 2}")
    table = folder / "labels.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> ClinicalCohort:
    return tile_cohort(find_labelled(str(draw_tiles(tmp_path_factory.mktemp("tiles")))))


def test_no_group_is_on_two_sides_and_each_is_tested_once(cohort: ClinicalCohort) -> None:
    folds = tile_folds(cohort, 4, seed=0)
    tested = [group for fold in folds for group in fold.test]
    assert sorted(tested) == sorted(set(cohort.patient_ids))
    for fold in folds:
        parts = [set(fold.train), set(fold.validation), set(fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts))


def test_a_class_with_fewer_groups_than_folds_is_refused(cohort: ClinicalCohort) -> None:
    few = replace(cohort, patient_ids=tuple("gh"[i // 2 % 2] for i in range(len(cohort))))
    with pytest.raises(RequestError, match=r"'pink' has 1 group\(s\), too few for 3 folds"):
        tile_folds(few, 3, seed=0)


@pytest.mark.parametrize("method", ["knn", "linear"])
def test_probes_tell_classes_apart_that_vectors_tell_apart(
    cohort: ClinicalCohort, method: str
) -> None:
    rng = np.random.default_rng(1)
    signal = dict(zip(cohort.slide_ids, cohort.target.values, strict=True))  # type: ignore[union-attr]
    vectors = {
        tile: rng.normal(size=8).astype(np.float32) + 3 * label for tile, label in signal.items()
    }
    records = []
    for fold in tile_folds(cohort, 3, seed=0):
        development, sealed = seal(cohort, fold)
        unseen = Unlabelled(sealed.bags, sealed.patients)
        records.append(open_test(probe_fold(vectors, development, unseen, method).outcome, sealed))  # type: ignore[arg-type]
    found = judge(records, ("pink", "violet"), seed=0).overall["auc"].value
    assert found is not None
    assert found > 0.9


def encoder() -> TorchEncoder:
    made = load_encoder("timm/test_vit", random_init=True, precision="fp32", device="cpu")
    assert isinstance(made, TorchEncoder)
    return made


def test_an_encoder_learns_colours_and_its_lower_layers_move_less(cohort: ClinicalCohort) -> None:
    fold = tile_folds(cohort, 3, seed=0)[0]
    development, sealed = seal(cohort, fold)
    before = {k: v.clone() for k, v in encoder().model.state_dict().items()}
    tuned = tune(encoder(), development.train, development.validation, PLAN, World())
    losses = [epoch.validation_loss for epoch in tuned.history]
    assert losses[tuned.best_epoch] == min(losses) < losses[0]
    told = tile_probabilities(tuned.model, sealed.bags, 16)
    record = open_test_of(told, sealed)
    assert record > 0.9
    after = tuned.model.network.state_dict()
    moved = {k: float((after[k] - v).abs().mean()) for k, v in before.items() if v.ndim == 2}
    blocks = sorted(k for k in moved if k.endswith("mlp.fc1.weight"))
    assert moved[blocks[0]] < moved[blocks[-1]]


def open_test_of(told: np.ndarray, sealed) -> float:  # type: ignore[no-untyped-def]
    opened = sealed.open(dict(zip(sealed.bags, told, strict=True)))
    return float((opened.probabilities.argmax(1) == opened.labels.values).mean())


def test_equal_seeds_train_the_same_encoder(cohort: ClinicalCohort) -> None:
    development, _ = seal(cohort, tile_folds(cohort, 3, seed=0)[0])
    short = replace(PLAN, epochs=1)
    one, other = (
        tune(encoder(), development.train, development.validation, short) for _ in range(2)
    )
    weights, again = one.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_tiles_of_different_sizes_are_refused_even_in_different_batches(tmp_path: Path) -> None:
    for name, side in (("a.png", 160), ("b.png", 96)):
        cv2.imwrite(str(tmp_path / name), np.zeros((side, side, 3), np.uint8))
    model = TileClassifier(encoder(), 2)
    with pytest.raises(RequestError, match="tiles of different sizes"):
        tile_probabilities(model, [f"{tmp_path}/a.png", f"{tmp_path}/b.png"], batch=1)
