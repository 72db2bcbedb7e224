"""The predictions of all tested folds as a table."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from pathray.finetuning.result import ClassRows, FoldRecord, RunResult


def prediction_table(result: RunResult) -> pa.Table:
    """A row for each tested bag of each fold.

    `fold`, `repeat`; of classes `slide_id` (null where a bag is a patient), `patient_id` (of
    tiles `path` and `group`), `label`, `predicted` and a `probability_<class>` each; of
    survival, by patient, `patient_id`, `time`, `event`, `risk` and `high_risk`, above the
    fold's cut.
    """
    rows = [row for record in result.folds for row in _rows(record, result)]
    return pa.Table.from_pylist(rows)


def prediction_parquet(result: RunResult) -> bytes:
    """`prediction_table` as a Parquet object."""
    sink = io.BytesIO()
    pq.write_table(prediction_table(result), sink)
    return sink.getvalue()


def _named(level: str, bag: str, patient: str) -> dict[str, object]:
    if level == "tile":
        return {"path": bag, "group": patient}
    return {"slide_id": bag if level == "slide" else None, "patient_id": patient}


def _rows(record: FoldRecord, result: RunResult) -> list[dict[str, object]]:
    fold: dict[str, object] = {"fold": record.fold.name, "repeat": record.fold.repeat}
    test = record.test
    if isinstance(test, ClassRows):
        each = zip(test.bags, test.patients, test.labels, test.probabilities, strict=True)
        return [
            fold
            | _named(result.level, bag, patient)
            | {
                "label": result.classes[label],
                "predicted": result.classes[told.index(max(told))],
                **{f"probability_{c}": p for c, p in zip(result.classes, told, strict=True)},
            }
            for bag, patient, label, told in each
        ]
    assert record.survival is not None
    cut = record.survival.cut
    people = zip(test.patients, test.time, test.event, test.risk, strict=True)
    return [
        fold
        | {
            "patient_id": patient,
            "time": time,
            "event": event,
            "risk": risk,
            "high_risk": risk > cut,
        }
        for patient, time, event, risk in people
    ]
