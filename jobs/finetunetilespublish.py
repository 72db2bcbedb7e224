"""What a finished run over labelled tiles leaves: numbers, report, model, MLflow's record.

<out>/result.json, predictions.parquet, report.html   as of slides (`jobs.finetunepublish`)
<out>/model/                                          the ensemble of the folds, but of `knn`
"""

from jobs.finetune import Flags
from jobs.finetunefollow import summary
from jobs.finetunepublish import MODEL, PREDICTIONS, REPORT, RESULT, command_of
from jobs.finetunetilesrequest import Request
from jobs.finetunetrack import TrackedRun
from pathray import storage
from pathray.errors import PathrayError
from pathray.finetuning.predictiontable import prediction_parquet
from pathray.finetuning.result import RunResult
from pathray.finetuning.tiles.objects import put_ensemble
from pathray.finetuning.tiles.pictures import read_pictures
from pathray.modelregistration import register_tile_model
from pathray.report.making import make_report
from pathray.report.tilesheets import tiles_to_show
from pathray.tilemodel import TileModelSpec


def publish(
    flags: Flags, request: Request, result: RunResult, tracked: TrackedRun, head: str
) -> int:
    """Put the results, tell MLflow, say the last words; returns the exit code."""
    out = request.out
    pictures = read_pictures(tiles_to_show(result))
    report = make_report(result, command=command_of(flags), pictures=pictures)
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
    if flags.method != "knn":
        put_ensemble(out, model, _spec(request, result), [fold.fold.name for fold in result.folds])
        places.append(("model", model))
    run_id = tracked.finish(result, artefacts)
    failure = None
    if flags.registered:
        try:
            places.append(("model", _registered(flags.registered, flags.alias, model, run_id)))
        except PathrayError as error:
            failure = str(error)
    summary(head, result, places)
    if failure:
        print(f"  failed  {failure}")
    return 1 if failure else 0


def _spec(request: Request, result: RunResult) -> TileModelSpec:
    made, tuned = result.embeddings, tuple(fold.digest for fold in result.folds)
    method = result.settings["method"]
    return TileModelSpec(
        method=method,
        target=result.target,
        classes=result.classes,
        encoder=made["encoder"],
        encoder_digests=tuned if method == "full" else (made["encoder_digest"],),
        precision=result.settings["encoder_precision"],
        dim=made["dim"],
        width=request.size.width,
        height=request.size.height,
    )


def _registered(name: str, alias: str, model: str, run_id: str | None) -> str:
    if run_id is None:
        raise PathrayError("the model is not registered: MLflow is out of reach")
    return f"models:/{name}@{alias} ({register_tile_model(model, run_id, name, alias)})"
