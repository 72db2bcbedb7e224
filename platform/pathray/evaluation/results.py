"""What an evaluation found, as data that can be written to JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pathray.evaluation.bootstrap import LEVEL, Estimate


@dataclass(frozen=True)
class FoldResult:
    """One fold's test: the patients and bags it scored, and every measure with its interval."""

    fold: str
    repeat: int
    patients: int
    bags: int
    scores: Mapping[str, Estimate]


@dataclass(frozen=True)
class Evaluation:
    """All folds and what they say together.

    `pooling` is the sentence that says how `overall` came from the folds. `details` holds what
    is no measure: a confusion matrix, the groups of a Kaplan-Meier plot; JSON-able values.
    """

    task: Literal["classification", "survival"]
    patients: int
    overall: Mapping[str, Estimate]
    folds: tuple[FoldResult, ...]
    pooling: str
    seed: int
    level: float = LEVEL
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and None."""
        return asdict(self)

    def to_json(self) -> str:
        """One JSON object; what is undefined is null."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
