"""The Markdown that a run prints: tables, what they mean, and whether an aim was met."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """One comparison. `setting` says what was measured, `meaning` what follows from it."""

    title: str
    setting: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    meaning: Sequence[str]

    def markdown(self) -> str:
        """The table under its title, with its sentences."""
        ruler = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (self.columns, ruler, *self.rows)]
        sentences = [f"- {sentence}" for sentence in self.meaning]
        return "\n".join([f"## {self.title}", self.setting, "", *lines, "", *sentences, ""])


def at_least(what: str, measured: float, aim: float) -> str:
    """Whether a ratio reached its aim."""
    return _verdict(what, measured, f"at least {aim:g}", measured >= aim)


def at_most(what: str, measured: float, aim: float) -> str:
    """Whether a ratio stayed under its aim."""
    return _verdict(what, measured, f"at most {aim:g}", measured <= aim)


def _verdict(what: str, measured: float, aim: str, met: bool) -> str:
    return f"{what}: **{measured:.2f}×**; the aim was {aim}×: {'met' if met else 'not met'}."


def number(value: float) -> str:
    """Three significant digits or more, with thousands set apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def megabytes(count: float) -> str:
    """Bytes in MB."""
    return f"{number(count / 1e6)} MB"


def cannot(name: str, reason: object, columns: int) -> list[str]:
    """The row of something that could not be measured."""
    return [name, f"cannot run here: {reason}", *[""] * (columns - 2)]
