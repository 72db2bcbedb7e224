"""One fold: a model from its training and validation bags, and its answers for the rest.

No label of a test bag comes here. What a fold answers is written down as a `FoldOutcome`; the
truth is put beside it by whoever holds the sealed test.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pathray.evaluation.sealed import Development
from pathray.finetuning.attending import attention_of, slide_attention
from pathray.finetuning.calibrating import Calibration
from pathray.finetuning.parts import Part, owners_of, part_of, places
from pathray.finetuning.recipe import Recipe
from pathray.finetuning.result import (
    ClassRows,
    FoldOutcome,
    SlideAttention,
    SurvivalBasis,
    SurvivalRows,
    rows_of,
)
from pathray.finetuning.task import ClassTask, Task, task_of
from pathray.finetuning.training import Told, dtype_of, fit, run_over
from pathray.mil.aggregator import Aggregator
from pathray.mil.bags import Bags, bags_of
from pathray.mil.batches import Packer
from pathray.mil.head import Head, digest_of
from pathray.mil.store import BagStore

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Unlabelled:
    """Slides to predict, and whose they are: all that a fold's training may know of its test."""

    slide_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]


@dataclass(frozen=True)
class FoldModel:
    """What a fold made: its answers, and its model with its description."""

    outcome: FoldOutcome
    head: Head
    model: Aggregator


def run_fold(
    store: BagStore,
    development: Development,
    tested: Unlabelled,
    recipe: Recipe,
    target: str,
    seed: int,
    device: torch.device | None = None,
    told: Told = lambda _: None,
) -> FoldModel:
    """Train a fold's model and predict its validation and its test.

    `target` is the column that is learned, or `survival`. Every slide must have tiles
    (KeyError).
    """
    started = time.perf_counter()
    device = device or torch.device("cpu")
    fold = _Fold(store, development, tested, recipe)
    fitted = fit(fold.bags, fold.train, fold.validation, fold.task, recipe, seed, device, told)
    answers = fold.answer(fitted.model, device)
    head = Head(
        settings=fitted.model.settings,
        made=store.made,
        target=target,
        loss=recipe.loss,
        classes=fold.classes,
        level=recipe.level,
        task=answers.task,
    )
    model = fitted.model.cpu()
    outcome = FoldOutcome(
        fold=development.fold.name,
        training_bags=len(fold.train),
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        validation=answers.validation,
        predictions=answers.predictions,
        curves=answers.curves,
        survival=answers.basis,
        attention=answers.attention,
        digest=digest_of(head, model),
        seconds=round(time.perf_counter() - started, 2),
    )
    return FoldModel(outcome, head, model)


@dataclass(frozen=True)
class _Answers:
    validation: ClassRows | SurvivalRows
    predictions: dict[str, tuple[float, ...]]
    curves: dict[str, tuple[float, ...]]
    basis: SurvivalBasis | None
    attention: tuple[SlideAttention, ...]
    task: dict[str, object]


class _Fold:
    """The bags of all parts."""

    def __init__(
        self, store: BagStore, development: Development, tested: Unlabelled, recipe: Recipe
    ) -> None:
        level = recipe.level
        train, validation = development.train, development.validation
        owners = {
            slide: bag
            for each in (train, validation, tested)
            for slide, bag in owners_of(each, level).items()
        }
        self.bags: Bags = bags_of(store, owners)
        self.train = part_of(self.bags, train, level)
        self.validation = part_of(self.bags, validation, level)
        self.test_ids = tuple(sorted(set(owners_of(tested, level).values())))
        self.recipe = recipe
        # Intervals are cut by patients, each counted once.
        self.task: Task = task_of(recipe, train.one_row_a_patient().target)
        self.classes = getattr(train.target, "classes", ())

    def answer(self, model: Aggregator, device: torch.device) -> _Answers:
        packer = Packer(self.bags, dtype_of(self.recipe), device)
        logits, attention = self._test(model, packer)
        validation = _logits(model, packer, self.validation)
        if isinstance(self.task, ClassTask):
            rows = _class_rows(self.validation, _probabilities(validation))
            told = dict(zip(self.test_ids, rows_of(_probabilities(logits)), strict=True))
            return _Answers(rows, told, {}, None, attention, {})
        curve = Calibration.of(self.task, self.train, _logits(model, packer, self.train))
        risks = curve.risk(logits)[:, None]
        return _Answers(
            curve.rows(self.validation, validation),
            dict(zip(self.test_ids, rows_of(risks), strict=True)),
            dict(zip(self.test_ids, rows_of(curve.survival(logits)), strict=True)),
            curve.basis,
            attention,
            curve.described(),
        )

    def _test(
        self, model: Aggregator, packer: Packer
    ) -> tuple[torch.Tensor, tuple[SlideAttention, ...]]:
        logits: list[torch.Tensor] = []
        attention: list[SlideAttention] = []
        for packed, found in run_over(model, packer, places(self.bags, self.test_ids)):
            logits.append(found.logits.cpu())
            shares = attention_of(model, found, isinstance(self.task, ClassTask))
            attention += slide_attention(self.bags, packed, shares)
        return torch.cat(logits), tuple(attention)


def _logits(model: Aggregator, packer: Packer, part: Part) -> torch.Tensor:
    return torch.cat([found.logits.cpu() for _, found in run_over(model, packer, part.bags)])


def _probabilities(logits: torch.Tensor) -> Floats:
    return logits.double().softmax(dim=1).numpy()


def _class_rows(part: Part, probabilities: Floats) -> ClassRows:
    return ClassRows(
        bags=part.ids,
        patients=part.patients,
        labels=tuple(part.target.values.tolist()),  # type: ignore[union-attr]
        probabilities=rows_of(probabilities),
    )
