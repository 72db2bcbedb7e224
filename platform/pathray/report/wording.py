"""Numbers and measures in words, the same in the page, the figures and the headline."""

from collections.abc import Mapping
from typing import Any

from pathray.evaluation.bootstrap import Estimate

UNDEFINED = "undefined"

MEASURES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "c_index": "C-index",
    "integrated_brier": "integrated Brier score",
}
CHANCE = {"auc": 0.5, "c_index": 0.5}
"""What a coin would score."""


def owner(level: str) -> str:
    """Whose a bag is, what no split divides and intervals draw: a group where bags are tiles."""
    return "group" if level == "tile" else "patient"


def main_measure(task: str) -> str:
    """The measure that a run is summed up by."""
    return "auc" if task == "classification" else "c_index"


def measure_name(name: str, task: str) -> str:
    """A measure for a person; the AUC of survival is one over time."""
    return "AUC over time" if (name, task) == ("auc", "survival") else MEASURES.get(name, name)


def number(value: float | None, digits: int = 3) -> str:
    """0.871; `undefined` where there is none. Never -0.000."""
    if value is None:
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """`0.812 to 0.921`, as a dash would look like a minus."""
    if low is None or high is None:
        return "no interval"
    return f"{number(low, digits)} to {number(high, digits)}"


def estimated(estimate: Estimate | Mapping[str, Any], digits: int = 3) -> str:
    """`0.871 (0.812 to 0.921)`."""
    found = estimate if isinstance(estimate, Mapping) else vars(estimate)
    if found["value"] is None:
        return UNDEFINED
    return f"{number(found['value'], digits)} ({interval(found['low'], found['high'], digits)})"


def p_value(p: float | None) -> str:
    """`p < 0.001`, `p = 0.034`, `p = 0.34`, `p > 0.99`: never p = 0, never p = 1."""
    if p is None:
        return f"p {UNDEFINED}"
    if p < 0.001:
        return "p < 0.001"
    if p > 0.99:
        return "p > 0.99"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def count(value: int, noun: str = "", plural: str = "") -> str:
    """`1 slide`, `12,345 slides`."""
    what = noun if value == 1 else plural or f"{noun}s"
    return f"{value:,} {what}".rstrip() if noun else f"{value:,}"


def between(values: list[int]) -> str:
    """`80` or `79 to 81`."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def listed(names: list[str], joint: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {joint} {names[-1]}"
