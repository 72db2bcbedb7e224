"""What was asked and how it was done, in plain sentences."""

from pathray.finetuning.result import FoldRecord, RunResult
from pathray.report.tilemethods import tile_model, tile_steering
from pathray.report.wording import between, count, listed, owner


def time_unit(result: RunResult) -> str:
    """`months`; empty where the run's settings name no `time_unit`."""
    return str(result.settings.get("time_unit") or "")


def time_axis(result: RunResult) -> str:
    """An axis label of follow-up."""
    unit = time_unit(result)
    return f"Time ({unit})" if unit else "Time (unit of the clinical table)"


def question(result: RunResult) -> str:
    """What the models were to learn, and from whom."""
    cohort = result.cohort
    survival = result.task == "survival"
    groups = listed(
        [
            f"{n:,} {'with the event' if survival and name == 'event' else name}"
            for name, n in cohort.groups.items()
        ]
    )
    if result.level == "tile":
        whom = (
            f"{count(cohort.tiles, 'labelled tile')} of {count(cohort.patients, 'group')} "
            f"(groups: {groups})"
        )
        return (
            f"Of which class is a tile: {listed(list(result.classes), 'or')}? Learnt from {whom}."
        )
    whom = (
        f"{count(cohort.slides, 'slide')} of {count(cohort.patients, 'patient')} "
        f"(patients: {groups}; {count(cohort.tiles, 'tile')} in all)"
    )
    if survival:
        return f"How long is it to the event? Predicted as a risk from {whom}."
    classes = listed(list(result.classes), "or")
    return f"Which “{result.target}” is it: {classes}? Predicted from {whom}."


def title(result: RunResult) -> str:
    """What the page is about."""
    if result.level == "tile":
        return "Classes of tiles"
    return "Survival" if result.task == "survival" else result.target


def method(result: RunResult) -> list[str]:
    """How tiles became a prediction, and how predictions were tested."""
    model = tile_model(result) if result.level == "tile" else _model(result)
    return [model, _folds(result), _sealed(result)]


def _model(result: RunResult) -> str:
    made = result.embeddings
    encoder = made.get("encoder") or "an encoder that the embeddings do not name"
    dim = f" of {made['dim']} numbers" if made.get("dim") else ""
    size = f" of {made['tile_size']} pixels" if made.get("tile_size") else ""
    mpp = f" at {made['mpp']:g} microns per pixel" if made.get("mpp") else ""
    aggregator = result.settings.get("aggregator")
    name = f" {aggregator}" if aggregator else ""
    return (
        f"Tiles{size}{mpp} were each described by a vector{dim} ({encoder}); the aggregator{name} "
        f"turned all vectors of a {result.level} into one prediction."
    )


def _folds(result: RunResult) -> str:
    steering = tile_steering(result) if result.level == "tile" else "to decide when to stop"
    sizes = " ".join(
        f"{_owners(result, part)} {what}"
        for part, what in (
            ("train", "to learn from,"),
            ("validation", f"{steering}, and"),
            ("test", "to be tested on."),
        )
    )
    who = "The model" if len(result.folds) == 1 else "Each model"
    return f"{scheme(result)} {who} had {sizes}"


def scheme(result: RunResult) -> str:
    """How patients were divided."""
    folds, who = result.folds, f"{owner(result.level).capitalize()}s"
    repeats = len({fold.fold.repeat for fold in folds})
    if len(folds) == 1:
        return f"{who} were divided once."
    if repeats == len(folds):
        return f"{who} were divided anew {repeats} times (Monte-Carlo cross-validation)."
    if repeats == 1:
        return f"{who} were divided into {len(folds)} folds, each of them the test of one model."
    return (
        f"{who} were divided into {between(_folds_a_repeat(folds))} folds, each of them the "
        f"test of one model, and this {repeats} times over."
    )


def pooled(result: RunResult) -> str:
    """How the overall numbers came from the folds: `evaluation.pooling` for a reader."""
    repeats = len({fold.fold.repeat for fold in result.folds})
    if repeats == len(result.folds):
        if repeats > 1:
            return "Overall numbers are means over the folds."
        return "There is one fold: another division could give other numbers."
    if result.task == "survival":
        said = (
            "The overall C-index counts pairs of patients within folds; the other measures are "
            "means over the folds"
        )
    else:
        said = "Overall numbers are computed from the predictions of all folds together"
    return f"{said}; of {repeats} repeats the mean is taken." if repeats > 1 else f"{said}."


def _folds_a_repeat(folds: tuple[FoldRecord, ...]) -> list[int]:
    repeats = [fold.fold.repeat for fold in folds]
    return [repeats.count(repeat) for repeat in set(repeats)]


def _owners(result: RunResult, part: str) -> str:
    sizes = [len(getattr(fold.fold, part)) for fold in result.folds]
    return f"{between(sizes)} {owner(result.level)}{'' if max(sizes) == 1 else 's'}"


def _sealed(result: RunResult) -> str:
    whole = "" if result.level == "patient" else f" with all {result.level}s"
    return (
        f"A {owner(result.level)}{whole} was in one part only, and the truth of a test was opened "
        "after the model had answered."
    )
