"""A fine-tuning run in MLflow: a parent, a child for each fold, lineage and artefacts."""

import json
from collections.abc import Mapping

from pathray import storage
from pathray.finetuning.result import FoldRecord, RunResult
from pathray.tracking import Tracking

TRACKED = "_mlflow.json"
POINTS = 50
"""Epochs of a fold that are told: the whole curve is in its outcome."""


class TrackedRun:
    """The parent run. A rerun of the same folder goes on with the runs it made."""

    def __init__(self, out: str, experiment: str, settings: Mapping[str, object]) -> None:
        self._out, self._experiment = out, experiment
        self._name = out.rsplit("/", 1)[-1]
        self._known = _read(out)
        self._parent = Tracking(
            experiment,
            self._name,
            run_id=self._known.get("run"),
            parameters=settings,
            started=lambda run: self._keep("run", run),
        )

    def finish(self, result: RunResult, artefacts: Mapping[str, bytes]) -> str | None:
        """Log a finished run; returns the parent's id, None when MLflow was out of reach."""
        parent = self._parent
        parent.tags(_lineage(result))
        parent.metrics(0, _measures(result.evaluation.overall))
        for path, content in artefacts.items():
            parent.artefact(path, content)
        parent.close()
        if parent.run_id is None:
            return None
        scores = {fold.fold: _measures(fold.scores) for fold in result.evaluation.folds}
        for record in result.folds:
            self._child(record, scores[record.fold.name], parent.run_id, result)
        return parent.run_id

    def fail(self) -> None:
        """Say that folds are missing."""
        self._parent.close("FAILED")

    def _child(
        self, record: FoldRecord, scores: dict[str, float], parent: str, result: RunResult
    ) -> None:
        key = f"fold {record.fold.name}"
        child = Tracking(
            self._experiment,
            f"{self._name} {key}",
            run_id=self._known.get(key),
            parent=parent,
            parameters={"fold": record.fold.name, "repeat": record.fold.repeat},
            started=lambda run: self._keep(key, run),
        )
        every = max(1, -(-len(record.history) // POINTS))
        for epoch in record.history[::every]:
            losses = {"train_loss": epoch.train_loss, "validation_loss": epoch.validation_loss}
            child.metrics(epoch.epoch, losses)
        child.metrics(len(record.history), {"best_epoch": record.best_epoch, **scores})
        child.tags(_lineage(result) | {"pathray.model_digest": record.digest})
        child.close()

    def _keep(self, key: str, run: str) -> None:
        if self._known.get(key) != run:
            self._known[key] = run
            text = json.dumps(self._known, indent=2) + "\n"
            storage.put_bytes(storage.join(self._out, TRACKED), text.encode())


def _read(out: str) -> dict[str, str]:
    try:
        return dict(json.loads(storage.read_bytes(storage.join(out, TRACKED))))
    except (FileNotFoundError, ValueError):
        return {}


def _lineage(result: RunResult) -> dict[str, str]:
    told = {
        "cohort_digest": result.cohort.digest,
        "encoder_digest": result.embeddings.get("encoder_digest"),
        "encoder": result.embeddings.get("encoder"),
        "mpp": result.embeddings.get("mpp"),
        "tile_size": result.embeddings.get("tile_size"),
        "target": result.target,
    }
    return {f"pathray.{name}": str(value) for name, value in told.items()}


def _measures(scores: Mapping[str, object]) -> dict[str, float]:
    told = {}
    for name, estimate in scores.items():
        for part in ("value", "low", "high"):
            value = getattr(estimate, part)
            if value is not None:
                told[name if part == "value" else f"{name}_{part}"] = float(value)
    return told
