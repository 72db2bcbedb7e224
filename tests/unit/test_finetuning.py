"""Training fold models on packed bags: what is found, what is not, what cannot leak."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_bags import CLASSES, Drawn, draw_cohort, draw_shares

from jobs.finetunefolds import FoldWork
from pathray.clinical.cohort import ClinicalCohort
from pathray.evaluation.folds import Fold, k_folds
from pathray.evaluation.labels import Labels
from pathray.evaluation.results import Evaluation
from pathray.evaluation.sealed import seal
from pathray.finetuning import training
from pathray.finetuning.fold import FoldModel, Unlabelled, run_fold
from pathray.finetuning.foldobjects import find_fold, load_fold_model, put_fold
from pathray.finetuning.judging import judge, open_test
from pathray.finetuning.recipe import PASS_TILES, Recipe
from pathray.finetuning.result import ClassRows, FoldRecord, SurvivalRows
from pathray.finetuning.sampling import epoch_batches
from pathray.mil.bagfiles import find_bag_files
from pathray.mil.head import digest_of
from pathray.mil.store import BagStore, open_bag_store
from pathray.survival.followup import FollowUp

BASE = Recipe(
    aggregator="clam_sb", loss="ce", level="slide", rate=1e-3, batch_bags=8, epochs=12, patience=6
)
SURVIVAL = BASE.model_copy(update={"loss": "cox", "level": "patient", "balance": False})


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw_cohort(tmp_path_factory.mktemp("drawn"), signal=8.0)


@pytest.fixture(scope="module")
def store(drawn: Drawn) -> Iterator[BagStore]:
    files = find_bag_files(str(drawn.embeddings))
    with open_bag_store(files, 10**8, drawn.table.parent / "cache") as opened:
        yield opened


def trained(store: BagStore, cohort: ClinicalCohort, fold: Fold, recipe: Recipe) -> FoldModel:
    unseen = cohort.of_patients(fold.test)
    tested = Unlabelled(unseen.slide_ids, unseen.patient_ids)
    development, _ = seal(cohort, fold, recipe.level)
    return run_fold(store, development, tested, recipe, "subtype", seed=1)


def records(store: BagStore, cohort: ClinicalCohort, recipe: Recipe) -> list[FoldRecord]:
    made = []
    for fold in k_folds(cohort.strata(), 3, 0.2, seed=1):
        outcome = trained(store, cohort, fold, recipe).outcome
        made.append(open_test(outcome, seal(cohort, fold, recipe.level)[1]))
    return made


def judged(store: BagStore, cohort: ClinicalCohort, recipe: Recipe) -> Evaluation:
    classes = getattr(cohort.target, "classes", ())
    return judge(records(store, cohort, recipe), classes, seed=0)


@pytest.mark.parametrize("aggregator", ["clam_sb", "mean"])
def test_a_planted_signal_is_found(store: BagStore, drawn: Drawn, aggregator: str) -> None:
    recipe = BASE.model_copy(update={"aggregator": aggregator})
    found = judged(store, drawn.labelled, recipe).overall["auc"]
    assert found.value is not None
    assert found.value > 0.9


def test_shuffled_labels_give_chance(store: BagStore, drawn: Drawn) -> None:
    cohort = drawn.labelled
    people = sorted(set(cohort.patient_ids))
    label = dict(zip(people, np.random.default_rng(5).permutation(len(people)) % 2, strict=True))
    values = np.array([label[patient] for patient in cohort.patient_ids], np.int64)
    shuffled = replace(cohort, target=Labels(values, CLASSES))
    found = judged(store, shuffled, BASE).overall["auc"]
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize(("loss", "level"), [("cox", "patient"), ("nll", "slide")])
def test_those_who_die_sooner_get_the_higher_risk(
    store: BagStore, drawn: Drawn, loss: str, level: str
) -> None:
    updates = {"aggregator": "mean", "loss": loss, "level": level, "epochs": 40}
    recipe = SURVIVAL.model_copy(update=updates)
    overall = judged(store, drawn.followed, recipe).overall
    assert overall["c_index"].low is not None
    assert overall["c_index"].low > 0.5
    assert overall["integrated_brier"].value is not None
    assert overall["integrated_brier"].value < 0.25


@pytest.mark.parametrize("aggregator", ["abmil", "clam_sb", "clam_mb"])
def test_attention_learns_survival_from_the_share_of_tiles(tmp_path: Path, aggregator: str) -> None:
    cohort = draw_shares(tmp_path / "emb")
    recipe = SURVIVAL.model_copy(
        update={"aggregator": aggregator, "batch_bags": 32, "epochs": 15, "patience": 15}
    )
    with open_bag_store(find_bag_files(str(tmp_path / "emb")), 10**8, tmp_path / "cache") as opened:
        found = judged(opened, cohort, recipe).overall["c_index"]
    assert found.low is not None
    assert found.low > 0.6


def test_equal_seeds_give_equal_models(store: BagStore, drawn: Drawn) -> None:
    fold = k_folds(drawn.labelled.strata(), 3, 0.2)[0]
    short = BASE.model_copy(update={"epochs": 3})
    one, other = (trained(store, drawn.labelled, fold, short) for _ in range(2))
    assert one.outcome.digest == other.outcome.digest
    assert one.outcome.predictions == other.outcome.predictions


def test_the_kept_weights_are_those_of_the_best_epoch(store: BagStore, drawn: Drawn) -> None:
    fold = k_folds(drawn.labelled.strata(), 3, 0.2)[0]
    recipe = BASE.model_copy(update={"epochs": 30, "patience": 2, "rate": 1e-2})
    outcome = trained(store, drawn.labelled, fold, recipe).outcome
    losses = [epoch.validation_loss for epoch in outcome.history]
    assert losses[outcome.best_epoch] == min(losses)
    assert len(losses) == 30 or len(losses) == outcome.best_epoch + 3
    rows = outcome.validation
    assert isinstance(rows, ClassRows)
    told = np.array(rows.probabilities)[np.arange(len(rows.labels)), rows.labels]
    assert -np.log(told).mean() == pytest.approx(min(losses), rel=1e-4)


def test_a_step_in_several_passes_is_the_step_in_one(
    store: BagStore, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = k_folds(drawn.labelled.strata(), 3, 0.2)[0]
    recipe = BASE.model_copy(update={"epochs": 2, "dropout": 0.0})
    whole = trained(store, drawn.labelled, fold, recipe).outcome
    monkeypatch.setattr(training, "PASS_TILES", 60)
    parts = trained(store, drawn.labelled, fold, recipe).outcome
    for bag, told in whole.predictions.items():
        assert told == pytest.approx(parts.predictions[bag], abs=1e-4)


def test_a_cox_batch_fits_one_pass_by_sampling_tiles() -> None:
    assert SURVIVAL.tiles_in_training() == PASS_TILES // SURVIVAL.batch_bags
    assert BASE.tiles_in_training() is None


def test_no_training_is_told_the_truth_of_its_test(drawn: Drawn) -> None:
    cohort = drawn.labelled
    fold = k_folds(cohort.strata(), 3, 0.2)[0]
    tested = np.isin(cohort.patient_ids, fold.test)
    assert isinstance(cohort.target, Labels)
    turned = Labels(np.where(tested, 1 - cohort.target.values, cohort.target.values), CLASSES)

    def sent(labels: Labels) -> bytes:
        development, sealed = seal(replace(cohort, target=labels), fold)
        return pickle.dumps(FoldWork(development, Unlabelled(sealed.bags, sealed.patients), 0))

    assert sent(turned) == sent(cohort.target)


def test_both_slides_of_a_patient_are_on_one_side(store: BagStore, drawn: Drawn) -> None:
    cohort = drawn.labelled
    for fold in k_folds(cohort.strata(), 3, 0.2):
        outcome = trained(store, cohort, fold, BASE.model_copy(update={"epochs": 1})).outcome
        tested = {bag.rsplit("-", 1)[0] for bag in outcome.predictions}
        steering = set(outcome.validation.patients)
        assert tested == set(fold.test)
        assert steering == set(fold.validation)
        assert not tested & (steering | set(fold.train))


def test_a_patient_who_is_a_bag_has_one_prediction(store: BagStore, drawn: Drawn) -> None:
    fold = k_folds(drawn.followed.strata(), 3, 0.2)[0]
    made = trained(store, drawn.followed, fold, SURVIVAL.model_copy(update={"epochs": 1}))
    assert set(made.outcome.predictions) == set(fold.test)
    shown = {each.slide_id for each in made.outcome.attention}
    assert shown == set(drawn.followed.of_patients(fold.test).slide_ids)


def test_attention_of_a_bag_sums_to_one_and_is_sorted(store: BagStore, drawn: Drawn) -> None:
    fold = k_folds(drawn.labelled.strata(), 3, 0.2)[0]
    made = trained(store, drawn.labelled, fold, BASE.model_copy(update={"epochs": 1}))
    for slide in made.outcome.attention:
        shares = [tile.attention for tile in slide.most]
        assert shares == sorted(shares, reverse=True)
        assert slide.least[0].attention <= slide.most[0].attention
        if slide.tiles <= 10:
            assert sum(shares) == pytest.approx(1, abs=1e-4)


def test_the_cut_is_the_median_of_training_risks(store: BagStore, drawn: Drawn) -> None:
    made = records(store, drawn.followed, SURVIVAL.model_copy(update={"epochs": 2}))
    for record in made:
        assert record.survival is not None
        assert isinstance(record.test, SurvivalRows)
        assert len(record.survival.time) == len(record.fold.train)
        curves = np.array(record.test.survival)
        assert (np.diff(curves, axis=1) <= 1e-9).all()


def test_a_fold_read_back_is_the_fold_written(
    store: BagStore, drawn: Drawn, tmp_path: Path
) -> None:
    fold = replace(k_folds(drawn.labelled.strata(), 3, 0.2)[0], name="a/b")
    made = trained(store, drawn.labelled, fold, BASE.model_copy(update={"epochs": 1}))
    assert find_fold(str(tmp_path), "a/b") is None
    put_fold(str(tmp_path), made)
    assert find_fold(str(tmp_path), "a/b") == made.outcome
    assert digest_of(*load_fold_model(str(tmp_path), made.outcome)) == made.outcome.digest


def test_balanced_epochs_show_classes_equally_often() -> None:
    labels = Labels(np.array([0] * 95 + [1] * 5), CLASSES)
    rng = np.random.default_rng(0)
    shown = np.concatenate([row for _ in range(50) for row in epoch_batches(labels, 8, True, rng)])
    assert 0.45 < labels.values[shown].mean() < 0.55
    once = np.concatenate(epoch_batches(labels, 8, False, rng))
    assert sorted(once) == list(range(100))


def test_every_cox_batch_has_its_share_of_events() -> None:
    event = np.arange(96) % 4 == 0
    follow_up = FollowUp.of(np.arange(1, 97), event)
    batches = epoch_batches(follow_up, 32, True, np.random.default_rng(0))
    assert sorted(np.concatenate(batches)) == list(range(96))
    assert all(7 <= event[rows].sum() <= 9 for rows in batches)
