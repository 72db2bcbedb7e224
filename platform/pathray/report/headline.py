"""The result in a sentence or two."""

from pathray.finetuning.result import RunResult
from pathray.report.wording import (
    CHANCE,
    MEASURES,
    UNDEFINED,
    interval,
    main_measure,
    number,
    owner,
    p_value,
)


def headline(result: RunResult) -> str:
    """The main measure with its interval; for survival the log-rank test too."""
    name = main_measure(result.task)
    overall = result.evaluation.overall[name]
    unseen = f"{owner(result.level)}s the models had not seen"
    if overall.value is None:
        return f"The {MEASURES[name]} on {unseen} is {UNDEFINED}."
    bounds = interval(overall.low, overall.high, 2)
    span = f"95% interval {bounds}" if overall.low is not None else bounds
    said = f"On {unseen}, the {MEASURES[name]} was {number(overall.value, 2)} ({span})."
    return f"{said} {_groups(result)}".rstrip()


def _groups(result: RunResult) -> str:
    if result.task != "survival":
        return ""
    p = result.evaluation.details["log_rank_p"]
    if p is None:
        return "High and low predicted risk could not be compared."
    return f"Patients of high and low predicted risk: log-rank {p_value(p)}."


def meaning(result: RunResult) -> str:
    """What the main measure measures."""
    name = main_measure(result.task)
    pair = (
        ", of two patients, the one with the earlier event is given the higher risk"
        if result.task == "survival"
        else _auc_pair(result)
    )
    return f"{MEASURES[name]}: how often{pair}; {CHANCE[name]} is chance, 1 is always."


def _auc_pair(result: RunResult) -> str:
    if len(result.classes) == 2:
        first, second = result.classes
        return (
            f" a {result.level} of {second} is given a higher probability of {second} than one "
            f"of {first}"
        )
    return (
        f" a {result.level} of a class is given a higher probability of it than one of another "
        "class (mean over the classes)"
    )
