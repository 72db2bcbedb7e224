"""Results of runs as `finetune` leaves them, drawn instead of trained."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pathray.clinical.cohort import ClinicalCohort
from pathray.evaluation.classification import evaluate_classes
from pathray.evaluation.folds import Fold, Strata, k_folds, monte_carlo
from pathray.evaluation.survival import evaluate_survival
from pathray.finetuning.result import (
    AttendedTile,
    ClassRows,
    CohortCounts,
    Epoch,
    FoldRecord,
    RunResult,
    SlideAttention,
    SurvivalBasis,
    SurvivalRows,
)
from pathray.survival.breslow import breslow_baseline
from pathray.survival.censoring import evaluation_times
from pathray.survival.followup import FollowUp

RESAMPLES = 60
SEED = 3
TILES = "s3://bucket/tiles"


def class_run(
    classes: Sequence[str] = ("LUAD", "LUSC"),
    patients: int = 60,
    folds: Sequence[Fold] | None = None,
    strength: float = 1.5,
    resamples: int = RESAMPLES,
    protocol: str = "k_folds",
    prefix: str = "P",
    **more: Any,
) -> RunResult:
    """A run over classes, most patients with one slide, some with two."""
    rng = np.random.default_rng(SEED)
    names = tuple(f"{prefix}{number:03}" for number in range(patients))
    truth = {name: number % len(classes) for number, name in enumerate(names)}
    if folds is None:
        strata = Strata(names, np.array(list(truth.values())), tuple(classes))
        folds = _folds(strata, protocol)
    slides = {name: _slides(name, number) for number, name in enumerate(names)}
    each = {
        slide: _probabilities(rng, truth[name], len(classes), strength)
        for name in names
        for slide in slides[name]
    }
    records = tuple(
        _record(
            fold,
            rng,
            test=_class_rows(fold.test, slides, truth, each, rng),
            validation=_class_rows(fold.validation, slides, truth, each, rng),
            attention=tuple(_attention(s, rng) for name in fold.test for s in slides[name]),
        )
        for fold in folds
    )
    tested = [record.tested_classes(tuple(classes)) for record in records]
    counts = np.bincount(list(truth.values()), minlength=len(classes)).tolist()
    return _run(
        records,
        task="classification",
        classes=tuple(classes),
        level="slide",
        cohort=_cohort(slides, dict(zip(classes, counts, strict=True))),
        evaluation=evaluate_classes(tested, SEED, resamples),
        **more,
    )


def tile_run(method: str = "linear", per_group: int = 3, **more: Any) -> RunResult:
    """A run over labelled tiles of 40 groups; only `full` has trained in epochs."""
    rng = np.random.default_rng(SEED)
    classes = ("benign", "tumour")
    names = tuple(f"g{number:02}" for number in range(40))
    truth = {name: number % 2 for number, name in enumerate(names)}
    folds = _folds(Strata(names, np.array(list(truth.values())), classes), "k_folds")
    tiles = {
        name: tuple(f"{TILES}/{classes[truth[name]]}/{name}-{n}.png" for n in range(per_group))
        for name in names
    }
    each = {t: _probabilities(rng, truth[name], 2, 1.0) for name in names for t in tiles[name]}
    records = tuple(
        _record(
            fold,
            rng,
            test=_class_rows(fold.test, tiles, truth, each, rng),
            validation=_class_rows(fold.validation, tiles, truth, each, rng),
        )
        for fold in folds
    )
    if method != "full":
        none = {"history": (), "best_epoch": 0}
        records = tuple(record.model_copy(update=none) for record in records)
    counts = _cohort(tiles, {"benign": 20, "tumour": 20})
    return _run(
        records,
        task="classification",
        classes=classes,
        level="tile",
        cohort=counts.model_copy(update={"tiles": counts.slides, "left_out": ()}),
        evaluation=evaluate_classes([r.tested_classes(classes) for r in records], SEED, RESAMPLES),
        target="label",
        settings={"kind": "tile models", "method": method},
        embeddings={
            "encoder": "mean_rgb",
            "encoder_digest": "ab" * 32,
            "mpp": None,
            "tile_size": "224 x 224",
            "dim": 6,
        },
        **more,
    )


def survival_run(
    patients: int = 80,
    folds: Sequence[Fold] | None = None,
    strength: float = 1.0,
    events: float = 1.0,
    resamples: int = RESAMPLES,
    protocol: str = "k_folds",
    nll: bool = False,
    **more: Any,
) -> RunResult:
    """A run over survival in months; fewer `events` is more censoring."""
    rng = np.random.default_rng(SEED)
    names = tuple(f"TCGA-{number:02}" for number in range(patients))
    risk = rng.normal(size=patients)
    death = rng.exponential(36 * np.exp(-strength * risk)) + 0.1
    left = rng.exponential(48 * events, patients) + 0.1
    follow_up = FollowUp.of(np.minimum(death, left), death <= left)
    cohort = ClinicalCohort(names, names, follow_up)
    folds = _folds(cohort.strata(), protocol) if folds is None else folds
    slides = {name: (name,) for name in names}
    records = tuple(_survival_record(fold, cohort, risk, rng, nll) for fold in folds)
    tested = [record.tested_survival() for record in records]
    seen = int(follow_up.event.sum())
    return _run(
        records,
        task="survival",
        classes=(),
        level="patient",
        cohort=_cohort(slides, {"censored": patients - seen, "event": seen}),
        evaluation=evaluate_survival(tested, SEED, resamples),
        **more,
    )


def patients_of(result: RunResult) -> dict[str, str]:
    """The patient of each slide that has attention."""
    slides = {a.slide_id for fold in result.folds for a in fold.attention}
    return {slide: slide.split("_")[0] for slide in slides}


def one_fold(names: Sequence[str], test: Sequence[str]) -> list[Fold]:
    """Two patients steer, the rest trains."""
    rest = [name for name in names if name not in set(test)]
    return [Fold("0", 0, tuple(rest[2:]), tuple(rest[:2]), tuple(sorted(test)))]


def _folds(strata: Strata, protocol: str) -> list[Fold]:
    if protocol == "monte_carlo":
        return monte_carlo(strata, 6, 0.15, 0.25, SEED)
    return k_folds(strata, 5, seed=SEED, repeats=2 if protocol == "repeated" else 1)


def _slides(name: str, number: int) -> tuple[str, ...]:
    return (f"{name}_1", f"{name}_2") if number % 7 == 0 else (f"{name}_1",)


def _probabilities(
    rng: np.random.Generator, truth: int, classes: int, strength: float
) -> np.ndarray:
    logits = rng.normal(size=classes) + strength * np.eye(classes)[truth]
    return np.exp(logits) / np.exp(logits).sum()


def _class_rows(
    patients: Sequence[str],
    slides: dict[str, tuple[str, ...]],
    truth: dict[str, int],
    probabilities: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> ClassRows:
    """Every model sees a slide a little differently."""
    rows = [(slide, name) for name in patients for slide in slides[name]]
    seen = [
        probabilities[slide] * rng.uniform(0.8, 1.2, len(probabilities[slide])) for slide, _ in rows
    ]
    return ClassRows(
        bags=tuple(slide for slide, _ in rows),
        patients=tuple(name for _, name in rows),
        labels=tuple(truth[name] for _, name in rows),
        probabilities=tuple(tuple((p / p.sum()).tolist()) for p in seen),
    )


def _survival_record(
    fold: Fold, cohort: ClinicalCohort, risk: np.ndarray, rng: np.random.Generator, nll: bool
) -> FoldRecord:
    """Risks of each fold have a scale of their own; of NLL they lie between -4 and 0."""
    told = risk * rng.uniform(0.5, 2) + rng.normal(0, 0.8, len(risk)) + rng.normal()
    told = -4 / (1 + np.exp(told)) if nll else told
    where = {name: row for row, name in enumerate(cohort.patient_ids)}
    rows = [[where[name] for name in part] for part in (fold.train, fold.validation, fold.test)]
    assert isinstance(cohort.target, FollowUp)
    training = cohort.target.take(np.array(rows[0]))
    times = evaluation_times(training)
    baseline = breslow_baseline(training, told[rows[0]])
    parts = [
        SurvivalRows(
            patients=tuple(cohort.patient_ids[row] for row in part),
            time=tuple(cohort.target.time[part].tolist()),
            event=tuple(cohort.target.event[part].tolist()),
            risk=tuple(told[part].tolist()),
            survival=tuple(map(tuple, baseline.survival(told[part], times).tolist())),
        )
        for part in rows[1:]
    ]
    return _record(
        fold,
        rng,
        validation=parts[0],
        test=parts[1],
        attention=tuple(_attention(name, rng) for name in fold.test),
        survival=SurvivalBasis(
            cut=float(np.median(told[rows[0]])),
            times=tuple(times.tolist()),
            time=tuple(training.time.tolist()),
            event=tuple(training.event.tolist()),
        ),
    )


def _record(fold: Fold, rng: np.random.Generator, **more: Any) -> FoldRecord:
    epochs = 12 + int(rng.integers(8))
    best = epochs - 5
    history = tuple(
        Epoch(
            epoch=number,
            train_loss=0.7 * 0.9**number + 0.01 * float(rng.normal()),
            validation_loss=0.5 + 0.004 * (number - best) ** 2,
            seconds=0.5,
        )
        for number in range(epochs)
    )
    return FoldRecord(
        fold=fold,
        training_bags=len(fold.train),
        history=history,
        best_epoch=best,
        digest="5f" * 32,
        seconds=12.25,
        **more,
    )


def _attention(slide: str, rng: np.random.Generator) -> SlideAttention:
    tiles = [
        AttendedTile(x=224 * number, y=448, attention=float(share))
        for number, share in enumerate(np.sort(rng.dirichlet(np.ones(20)))[::-1])
    ]
    return SlideAttention(
        slide_id=slide, tiles=400, most=tuple(tiles[:10]), least=tuple(tiles[:9:-1])
    )


def _cohort(slides: dict[str, tuple[str, ...]], groups: dict[str, int]) -> CohortCounts:
    count = sum(map(len, slides.values()))
    return CohortCounts(
        slides=count,
        patients=len(slides),
        tiles=400 * count,
        groups=groups,
        joined_on="slide_id",
        left_out=("2 slide(s) left out, no subtype: S1, S2",),
        warnings=(),
        notes=(),
        digest="c0" * 32,
    )


def _run(records: tuple[FoldRecord, ...], **more: Any) -> RunResult:
    return RunResult(
        **{
            "settings": {
                "aggregator": "clam_sb",
                "loss": "ce",
                "lr": 1e-4,
                "max_tiles": None,
                "time_unit": "months",
            },
            "embeddings": {
                "encoder": "beph",
                "encoder_digest": "ab" * 32,
                "mpp": 0.25,
                "tile_size": 224,
                "dim": 768,
            },
            "folds": records,
            "target": "survival" if more["task"] == "survival" else "subtype",
            "time": "2026-05-04T10:00:00+00:00",
            "version": "0.1.0",
            "seconds": 93.5,
            **more,
        }
    )
