"""What a reader must know before believing the numbers: rules over a run's result."""

from collections.abc import Callable, Iterator

from pathray.finetuning.result import FoldRecord, RunResult
from pathray.report.protocol import pooled
from pathray.report.wording import CHANCE, count, listed, main_measure, measure_name, owner

WIDE = 0.2
"""An interval of AUC or C-index wider than this says little."""
FEW_EVENTS = 50
"""Fewer events than this leave survival measures to chance."""
FEW_PATIENTS = 20
"""Fewer patients of a class than this."""


def caveats(result: RunResult) -> list[str]:
    """Sentences, the gravest first; the last ones hold for every run."""
    return [sentence for rule in _RULES for sentence in rule(result)]


def _chance(result: RunResult) -> Iterator[str]:
    name = main_measure(result.task)
    overall, chance = result.evaluation.overall[name], CHANCE[name]
    if overall.low is not None and overall.high is not None:
        if overall.low <= chance <= overall.high:
            yield (
                f"The interval of the {measure_name(name, result.task)} holds {chance}: these data "
                "do not show that the models do better than chance."
            )
        if overall.high < chance:
            yield (
                f"The {measure_name(name, result.task)} is below {chance}, worse than chance: "
                "look for labels or events coded the wrong way round."
            )


def _width(result: RunResult) -> Iterator[str]:
    name = main_measure(result.task)
    overall = result.evaluation.overall[name]
    if overall.value is None:
        return
    who = owner(result.level)
    if overall.low is None or overall.high is None:
        yield f"The {measure_name(name, result.task)} has no interval: there are too few {who}s."
    elif overall.high - overall.low > WIDE:
        yield (
            f"The interval of the {measure_name(name, result.task)} is wide: other {who}s could "
            "give a quite different value."
        )


def _few(result: RunResult) -> Iterator[str]:
    if result.task == "survival":
        events = int(result.evaluation.details["events"])
        if events < FEW_EVENTS:
            yield f"Only {count(events, 'event')} among the tested patients: all rests on few."
        return
    small = [f"{name} ({n})" for name, n in result.cohort.groups.items() if n < FEW_PATIENTS]
    if small:
        yield f"Few {owner(result.level)}s of {listed(small)}: what is said of them rests on few."


def _undefined(result: RunResult) -> Iterator[str]:
    for name, overall in result.evaluation.overall.items():
        if overall.undefined:
            yield (
                f"{overall.undefined:,} of {overall.resamples:,} resamples leave the "
                f"{measure_name(name, result.task)} undefined and do not count in its interval."
            )
    main = main_measure(result.task)
    folds = [fold.fold for fold in result.evaluation.folds if fold.scores[main].value is None]
    if folds:
        why = "no comparable pair" if result.task == "survival" else "not all classes"
        yield (
            f"The {measure_name(main, result.task)} is undefined in fold {listed(folds)}: "
            f"{why} among its tested {owner(result.level)}s."
        )


def _certain(result: RunResult) -> Iterator[str]:
    main = main_measure(result.task)
    scores = {f"fold {fold.fold}": fold.scores[main] for fold in result.evaluation.folds}
    scores["all folds"] = result.evaluation.overall[main]
    without = [name for name, one in scores.items() if one.low is not None and one.low == one.high]
    if without:
        yield (
            f"An interval without width ({listed(without)}) is no certainty: few "
            f"{owner(result.level)}s were ordered without an error, and resampling cannot show "
            "more."
        )


def _coverage(result: RunResult) -> Iterator[str]:
    tested, all_of_them = result.evaluation.patients, result.cohort.patients
    who = owner(result.level)
    if tested < all_of_them:
        yield f"{tested:,} of {count(all_of_them, who)} were ever tested."
    folds = [set(fold.fold.test) for fold in result.folds]
    if sum(map(len, folds)) > len(set().union(*folds)):
        yield (
            f"{who.capitalize()}s were tested several times by different models; intervals "
            f"resample {who}s, so that repeats do not pass for more {who}s."
        )


def _unfinished(result: RunResult) -> Iterator[str]:
    last = [fold.fold.name for fold in result.folds if _still_learning(fold)]
    if last:
        yield (
            f"The last epoch was the best one in {count(len(last), 'fold')} ({listed(last)}): "
            "with more epochs the models could have learnt more."
        )


def _still_learning(fold: FoldRecord) -> bool:
    return len(fold.history) > 1 and fold.best_epoch == fold.history[-1].epoch


def _cohort(result: RunResult) -> Iterator[str]:
    yield from result.cohort.warnings
    yield from result.cohort.notes


def _embeddings(result: RunResult) -> Iterator[str]:
    if result.level == "tile":
        yield (
            "Tile files do not say their resolution: whether other tiles show tissue at the same "
            "scale cannot be checked."
        )
        return
    unknown = [
        {"encoder_digest": "encoder", "mpp": "resolution", "tile_size": "tile size"}[name]
        for name in ("encoder_digest", "mpp", "tile_size")
        if not result.embeddings.get(name)
    ]
    if unknown:
        yield (
            f"The embeddings do not say their {listed(unknown)}: whether other slides were "
            "embedded alike cannot be checked."
        )


def _always(result: RunResult) -> Iterator[str]:
    yield pooled(result)
    if result.task == "survival":
        yield (
            "Risks of different folds come from different models and are not comparable: patients "
            "are compared, and cut into high and low risk, within their fold."
        )
    who = owner(result.level)
    yield (
        f"Intervals say what other {who}s of this kind would change, not what another training "
        f"would. All {who}s are of one cohort: other hospitals, scanners and stains are untested."
    )
    yield "For research. Not for the diagnosis or treatment of a patient."


_RULES: tuple[Callable[[RunResult], Iterator[str]], ...] = (
    _chance, _width, _few, _undefined, _certain,
    _coverage, _unfinished, _cohort, _embeddings, _always,
)  # fmt: skip
