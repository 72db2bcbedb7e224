"""What a fine-tuning run yields: all that its report is drawn from, as one JSON object."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pathray.evaluation.folds import Fold
from pathray.evaluation.labels import Labels
from pathray.evaluation.predictions import ClassPredictions, RiskPredictions
from pathray.evaluation.results import Evaluation
from pathray.evaluation.survival import SurvivalTest
from pathray.survival.followup import FollowUp


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def rows_of(values: NDArray[np.floating]) -> tuple[tuple[float, ...], ...]:
    """An array (n, m) as it is written down."""
    return tuple(tuple(row) for row in values.tolist())


class Epoch(_Frozen):
    """One pass over the training bags: mean losses and the wall time."""

    epoch: int
    train_loss: float
    validation_loss: float
    seconds: float


class ClassRows(_Frozen):
    """Bags (n,) of one part of a fold: true labels (n,) as indices into the run's classes, and
    predicted probabilities (n, C). `bags` are slide ids, or patient ids where a bag is one."""

    bags: tuple[str, ...]
    patients: tuple[str, ...]
    labels: tuple[int, ...]
    probabilities: tuple[tuple[float, ...], ...]


class SurvivalRows(_Frozen):
    """Patients (n,) of one part of a fold: true follow-up, predicted risk (n,), higher dies
    sooner, and the probability (n, T) to be alive at the fold's `times`."""

    patients: tuple[str, ...]
    time: tuple[float, ...]
    event: tuple[bool, ...]
    risk: tuple[float, ...]
    survival: tuple[tuple[float, ...], ...]

    def follow_up(self) -> FollowUp:
        """The truth."""
        return FollowUp.of(self.time, self.event)


class SurvivalBasis(_Frozen):
    """What a fold's *training* patients say about judging its test.

    `cut` is the median of their risks (above it is high risk), `times` (T,) when curves are
    compared, `time` and `event` their follow-up, for censoring weights.
    """

    cut: float
    times: tuple[float, ...]
    time: tuple[float, ...]
    event: tuple[bool, ...]

    def follow_up(self) -> FollowUp:
        """Of the training patients."""
        return FollowUp.of(self.time, self.event)


class AttendedTile(_Frozen):
    """A tile: its top-left corner in level-0 pixels, its share of the bag's attention (the
    shares of a bag sum to 1)."""

    x: int
    y: int
    attention: float


class SlideAttention(_Frozen):
    """The most and the least attended tiles of a tested slide, the extreme ones first.

    Of aggregators with one attention a class it is that of the predicted class.
    """

    slide_id: str
    tiles: int
    most: tuple[AttendedTile, ...]
    least: tuple[AttendedTile, ...]


class FoldOutcome(_Frozen):
    """What a fold's training leaves: everything but the truth of its test.

    `predictions` holds, for every bag of the test, its probabilities (C,) or its one risk, and
    `curves`, for survival, the probabilities (T,) to be alive at the times of `survival`.
    """

    fold: str
    training_bags: int
    history: tuple[Epoch, ...]
    best_epoch: int
    validation: ClassRows | SurvivalRows
    predictions: dict[str, tuple[float, ...]]
    curves: dict[str, tuple[float, ...]]
    survival: SurvivalBasis | None
    attention: tuple[SlideAttention, ...]
    digest: str
    seconds: float


class FoldRecord(_Frozen):
    """One fold: its patients, its training, its predictions with the truth beside them.

    `best_epoch` is the epoch whose weights were kept (the lowest validation loss).
    `survival` is None for classes. `digest` names the fold's model.
    """

    fold: Fold
    training_bags: int
    history: tuple[Epoch, ...]
    best_epoch: int
    validation: ClassRows | SurvivalRows
    test: ClassRows | SurvivalRows
    survival: SurvivalBasis | None = None
    attention: tuple[SlideAttention, ...] = ()
    digest: str = ""
    seconds: float = 0.0

    def tested_classes(self, classes: tuple[str, ...]) -> ClassPredictions:
        """The test as `evaluate_classes` takes it."""
        assert isinstance(self.test, ClassRows)
        return ClassPredictions(
            self.fold,
            self.test.bags,
            self.test.patients,
            Labels(np.array(self.test.labels, np.int64), classes),
            np.array(self.test.probabilities, np.float64),
        )

    def tested_survival(self) -> SurvivalTest:
        """The test as `evaluate_survival` and `risk_groups` take it."""
        assert isinstance(self.test, SurvivalRows)
        assert self.survival is not None
        names, times = self.test.patients, np.array(self.survival.times, np.float64)
        risks = np.array(self.test.risk, np.float64)
        curves = np.array(self.test.survival, np.float64).reshape(len(names), len(times))
        predictions = RiskPredictions(self.fold, names, names, self.test.follow_up(), risks)
        training = self.survival.follow_up()
        return SurvivalTest(predictions, training, self.survival.cut, times, curves)


class CohortCounts(_Frozen):
    """The cohort as it was used.

    `groups` counts patients by class, or by `event` and `censored`. `left_out`, `warnings`
    and `notes` are lines for a person. `digest` is the sha256 of slides, patients and targets.
    """

    slides: int
    patients: int
    tiles: int
    groups: dict[str, int]
    joined_on: str
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str


class RunResult(_Frozen):
    """A whole run. `embeddings` says how they were made (encoder, encoder_digest, mpp,
    tile_size, dim; None where unknown), `settings` all that decides the result."""

    target: str
    task: Literal["classification", "survival"]
    classes: tuple[str, ...]
    level: Literal["slide", "patient", "tile"]
    settings: dict[str, Any]
    embeddings: dict[str, Any]
    cohort: CohortCounts
    folds: tuple[FoldRecord, ...]
    evaluation: Evaluation
    time: str
    version: str
    seconds: float
