"""From the test predictions of all folds to measures with intervals: classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathray.evaluation.bootstrap import RESAMPLES, Floats, estimate
from pathray.evaluation.metrics import class_scores, confusion_matrices
from pathray.evaluation.predictions import ClassPredictions
from pathray.evaluation.repeats import by_repeat, pooling
from pathray.evaluation.results import Evaluation, FoldResult


def evaluate_classes(
    tested: Sequence[ClassPredictions], seed: int = 0, resamples: int = RESAMPLES
) -> Evaluation:
    """Measures of each fold and of all.

    Within a repeat of k-fold cross-validation the predictions are pooled, then scored;
    measures of several repeats (every Monte-Carlo fold is one) are averaged. Rows are bags:
    take `by_patient` of each fold first to score patients. Intervals resample patients.
    """
    samples = [_Pooled.of(folds) for folds in by_repeat(tested)]
    each = tuple(_fold(predictions, seed, resamples) for predictions in tested)
    classes = tested[0].labels.classes
    confusion = sum(sample.confusion() for sample in samples)
    return Evaluation(
        task="classification",
        patients=len({patient for sample in samples for patient in sample.patients}),
        overall=estimate(samples, seed, resamples),
        folds=each,
        pooling=pooling(tested, "predictions pooled"),
        seed=seed,
        details={"classes": list(classes), "confusion": np.asarray(confusion, int).tolist()},
    )


@dataclass(frozen=True)
class _Pooled:
    """Bags of several folds as if of one."""

    patients: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: Floats

    @classmethod
    def of(cls, folds: Sequence[ClassPredictions]) -> "_Pooled":
        return cls(
            tuple(patient for fold in folds for patient in fold.patients),
            np.concatenate([fold.labels.values for fold in folds]),
            np.concatenate([fold.probabilities for fold in folds]),
        )

    def scores(self, weights: Floats) -> dict[str, Floats]:
        return class_scores(self.labels, self.probabilities, weights)

    def confusion(self) -> Floats:
        """True by predicted class (C, C), every bag counted once."""
        ones = np.ones((1, len(self.labels)))
        return confusion_matrices(self.labels, self.probabilities, ones)[0]


def _fold(predictions: ClassPredictions, seed: int, resamples: int) -> FoldResult:
    return FoldResult(
        fold=predictions.fold.name,
        repeat=predictions.fold.repeat,
        patients=len(set(predictions.patients)),
        bags=len(predictions.bags),
        scores=estimate([_Pooled.of([predictions])], seed, resamples),
    )
