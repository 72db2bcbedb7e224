"""What a finished run leaves: numbers, report, model, MLflow's record, the last words.

<out>/result.json           everything of the run (`pathray.finetuning.result`)
<out>/predictions.parquet   the predictions of every test fold
<out>/report.html           one page, with report.json and figures/ beside it
<out>/model/                the ensemble of the folds' models
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jobs.finetune import Flags, flag
from jobs.finetunefollow import summary
from jobs.finetunerequest import Request
from jobs.finetunetrack import TrackedRun
from pathray import storage
from pathray.errors import PathrayError
from pathray.finetuning.foldobjects import load_fold_model
from pathray.finetuning.pictures import read_sheets
from pathray.finetuning.predictiontable import prediction_parquet
from pathray.finetuning.result import FoldOutcome, RunResult
from pathray.modelregistration import register
from pathray.report.making import Report, make_report
from pathray.report.sheets import Sheet, slides_to_show
from pathray.slidemodel import save_slide_model

RESULT, PREDICTIONS, REPORT, MODEL = "result.json", "predictions.parquet", "report.html", "model"


@dataclass(frozen=True)
class Ensemble:
    """How the folds' models are put into a folder, and registered from there.

    `register` takes the folder, the run's id, name and alias, and returns the version's URI.
    """

    put: Callable[[str], object]
    register: Callable[[str, str, str, str], str]


def publish(
    flags: Flags,
    request: Request,
    result: RunResult,
    outcomes: Mapping[str, FoldOutcome],
    tracked: TrackedRun,
    head: str,
) -> int:
    """Put the results, tell MLflow, say the last words; returns the exit code."""
    out = request.out
    report = make_report(result, _sheets(flags, request, result), command_of(flags))

    def put(model: str) -> None:
        heads = [load_fold_model(out, outcome) for outcome in outcomes.values()]
        save_slide_model(model, heads, flags.time_unit)

    return deliver(flags, out, result, report, tracked, head, Ensemble(put, register))


def deliver(
    flags: Flags,
    out: str,
    result: RunResult,
    report: Report,
    tracked: TrackedRun,
    head: str,
    ensemble: Ensemble | None,
) -> int:
    """What runs over slides and over tiles have in common; without an ensemble, no model."""
    artefacts = {
        RESULT: result.model_dump_json(indent=1).encode(),
        PREDICTIONS: prediction_parquet(result),
        **report.files(),
    }
    for name, content in artefacts.items():
        storage.put_bytes(storage.join(out, name), content)
    named = (("report", REPORT), ("numbers", RESULT), ("tests", PREDICTIONS))
    places = [(what, storage.join(out, name)) for what, name in named]
    model = storage.join(out, MODEL)
    if ensemble:
        ensemble.put(model)
        places.append(("model", model))
    run_id = tracked.finish(result, artefacts)
    failure = None
    if ensemble and flags.registered:
        try:
            places.append(("model", _registered(flags, ensemble, model, run_id)))
        except PathrayError as error:
            failure = str(error)
    summary(head, result, places)
    if failure:
        print(f"  failed  {failure}")
    return 1 if failure else 0


def _sheets(flags: Flags, request: Request, result: RunResult) -> list[Sheet]:
    if flags.tiles is None:
        return []
    cohort = request.cohort
    patients = dict(zip(cohort.slide_ids, cohort.patient_ids, strict=True))
    return read_sheets(storage.absolute(flags.tiles), slides_to_show(result, patients))


def _registered(flags: Flags, ensemble: Ensemble, model: str, run_id: str | None) -> str:
    if run_id is None:
        raise PathrayError("the model is not registered: MLflow is out of reach")
    name, alias = str(flags.registered), flags.alias
    return f"models:/{name}@{alias} ({ensemble.register(model, run_id, name, alias)})"


def command_of(flags: Flags) -> str:
    """How the run is asked for on the command line."""
    words = ["pathray", "finetune"]
    for name in Flags.model_fields:
        if name in flags.model_fields_set:
            value = getattr(flags, name)
            if isinstance(value, bool):
                words.append(flag(name) if value else f"--no-{flag(name)[2:]}")
            else:
                words += [flag(name), str(value)]
    return shlex.join(words)
