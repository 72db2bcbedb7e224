"""What a finished run over labelled tiles leaves: numbers, report, model, MLflow's record.

<out>/result.json, predictions.parquet, report.html   as of slides (`jobs.finetunepublish`)
<out>/model/                                          the ensemble of the folds, but of `knn`
"""

from jobs.finetune import Flags
from jobs.finetunepublish import Ensemble, command_of, deliver
from jobs.finetunetilesrequest import Request
from jobs.finetunetrack import TrackedRun
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
    pictures = read_pictures(tiles_to_show(result))
    report = make_report(result, command=command_of(flags), pictures=pictures)

    def put(model: str) -> None:
        folds = [fold.fold.name for fold in result.folds]
        put_ensemble(request.out, model, _spec(request, result), folds)

    ensemble = None if flags.method == "knn" else Ensemble(put, register_tile_model)
    return deliver(flags, request.out, result, report, tracked, head, ensemble)


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
