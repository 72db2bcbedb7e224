"""The demo's slide models: subtype and survival, cross-validated on a handful of patients."""

from pathlib import Path
from typing import Any


def requests(
    folder: Path, cohort: Path, tiles: Path, embeddings: Path, seed: int
) -> list[tuple[str, dict[str, Any]]]:
    """(job, flags) in their order: two fine-tunings, then predictions by the first's model.

    Few patients and vectors of a hardly trained encoder: a larger rate than the defaults, which
    are made for hundreds of slides.
    """
    given = {"embeddings": str(embeddings), "cohort": str(cohort), "tiles": str(tiles)}
    brief = {"aggregator": "abmil", "folds": 3, "validation": 0.2, "lr": 1e-3, "epochs": 40}
    subtype = {"target": "subtype", "out": str(folder / "subtype"), "register": "demo-subtype"}
    survival = {"target": "survival", "out": str(folder / "survival"), "time_unit": "days"}
    predict = {
        "model": "models:/demo-subtype@current",
        "embeddings": str(embeddings),
        "out": str(folder / "predictions"),
    }
    return [
        ("finetune", given | subtype | brief | {"patience": 10, "seed": seed}),
        ("finetune", given | survival | brief | {"patience": 10, "seed": seed}),
        ("predict", predict),
    ]
