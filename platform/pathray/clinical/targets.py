"""What is to be predicted, read from the cells of the clinical table."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pathray.errors import RequestError, some
from pathray.evaluation.labels import Labels
from pathray.survival.followup import FollowUp

MISSING = frozenset(
    ("", "na", "n/a", "nan", "null", "--", "'--", "[not available]", "[not applicable]",
     "[unknown]", "[discrepancy]")
)  # fmt: skip
"""Cells, in lower case, that say nothing; the last ones are TCGA's."""

MOSTLY_EVENTS = 0.8
"""Share of events above which the coding is doubted: cohorts are censored for a third and more."""

Row = Mapping[str, str]
Value = str | tuple[float, bool]


class LeaveOut(Exception):  # noqa: N818  (a reason, not an error)
    """The row cannot be used, for this reason."""


@dataclass(frozen=True)
class ClassTarget:
    """A class for each patient, from a column.

    `classes` fixes their order (of two, the second is the positive one) and refuses any other
    label; by default they are the labels found, sorted, numbers by size.
    """

    column: str
    classes: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, str]:
        """The columns needed, and the flag that names each."""
        return {self.column: "--target"}

    def value(self, row: Row) -> Value:
        """The label of a row."""
        label = _whole(cell(row, self.column))
        if is_missing(label):
            raise LeaveOut(f"no {self.column}")
        if self.classes and label not in self.classes:
            raise RequestError(
                f"unknown label {label!r} in column `{self.column}`; known: "
                f"{', '.join(self.classes)}; empty the cell to leave the row out"
            )
        return label

    def conflict(self) -> str:
        """What it means that two rows of a patient differ."""
        return f"in two classes of `{self.column}`"

    def gather(self, values: Sequence[Value]) -> tuple[Labels, list[str]]:
        """Labels of all rows, and warnings."""
        found = sorted({str(value) for value in values}, key=_by_number)
        classes = self.classes or tuple(found)
        absent = [name for name in classes if name not in found]
        if absent:
            raise RequestError(f"no slide with an embedding is of class {some(absent)}")
        if len(classes) < 2:
            raise RequestError(
                f"column `{self.column}` is {found[0]!r} for every slide: a model needs two classes"
            )
        index = {name: number for number, name in enumerate(classes)}
        return Labels(np.array([index[str(value)] for value in values]), classes), []


@dataclass(frozen=True)
class SurvivalTarget:
    """Follow-up: a column of times and one of events (1 = seen, 0 = censored).

    `censored` names a column of the opposite coding (1 = censored) to read instead of `event`.
    """

    time: str = "time"
    event: str = "event"
    censored: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """The columns needed, and the flag that names each."""
        seen = {self.censored: "--censored-column"} if self.censored else {
            self.event: "--event-column"
        }  # fmt: skip
        return {self.time: "--time-column", **seen}

    def value(self, row: Row) -> Value:
        """(time, whether the event was seen) of a row."""
        return self._time(row), self._event(row)

    def conflict(self) -> str:
        """What it means that two rows of a patient differ."""
        return f"with two follow-ups (`{self.time}` or event)"

    def _time(self, row: Row) -> float:
        text = cell(row, self.time)
        if is_missing(text):
            raise LeaveOut(f"no {self.time}")
        try:
            time = float(text)
        except ValueError:
            time = math.nan
        if not math.isfinite(time):
            raise RequestError(f"column `{self.time}` holds {text!r}, which is not a number")
        if time <= 0:
            raise LeaveOut(f"{self.time} is {'negative' if time < 0 else 'zero'}")
        return time

    def _event(self, row: Row) -> bool:
        column = self.censored or self.event
        text = _whole(cell(row, column)).lower()
        if is_missing(text):
            raise LeaveOut(f"no {column}")
        if text not in ("0", "1", "true", "false"):
            meaning = "1 = censored, 0 = event" if self.censored else "1 = event, 0 = censored"
            raise RequestError(f"column `{column}` holds {text!r}, which is not 0 or 1 ({meaning})")
        return (text in ("1", "true")) != bool(self.censored)

    def gather(self, values: Sequence[Value]) -> tuple[FollowUp, list[str]]:
        """Follow-up of all rows, and warnings."""
        follow_up = FollowUp.of([value[0] for value in values], [value[1] for value in values])
        seen = int(follow_up.event.sum())
        if not seen:
            raise RequestError(
                f"nobody has an event: is `{self.censored or self.event}` coded the other way "
                f"round? {self._other_way()}"
            )
        warnings = []
        if seen >= MOSTLY_EVENTS * len(follow_up):
            warnings.append(f"{seen} of {len(follow_up)} slides have an event: {self._other_way()}")
        if not self.censored and "censor" in self.event.lower():
            warnings.append(f"column `{self.event}` is read as 1 = event: {self._other_way()}")
        return follow_up, warnings

    def _other_way(self) -> str:
        if self.censored:
            return f"if `{self.censored}` is 1 for an event, say --event-column {self.censored}"
        return f"if `{self.event}` is 1 for censored, say --censored-column {self.event}"


Target = ClassTarget | SurvivalTarget


def cell(row: Row, column: str) -> str:
    """A cell without the spaces around it; empty where the row is too short."""
    return (row.get(column) or "").strip()


def is_missing(text: str) -> bool:
    """Whether a cell says nothing."""
    return text.lower() in MISSING


def _whole(text: str) -> str:
    """`1.0` as `1`: tables write whole numbers either way."""
    return re.sub(r"^(-?\d+)\.0*$", r"\1", text)


def _by_number(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return math.inf, label
