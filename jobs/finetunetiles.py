"""What `pathray finetune --level tile` runs: probes of frozen vectors, or the whole encoder."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from jobs import embed
from jobs.cluster import Capacity, connected
from jobs.encoding import Described, EncoderChoice, choose_encoder, choose_pool, describe
from jobs.finetune import Flags
from jobs.finetunefollow import summary
from jobs.finetunetrack import TrackedRun
from jobs.flags import validate
from jobs.progress import Progress, clock
from jobs.tilefeatures import tile_vectors
from jobs.tiletuning import TuneFold, tune_folds
from pathray import __version__, outputs, storage
from pathray.clinical.cohort import ClinicalCohort
from pathray.errors import RequestError
from pathray.evaluation.folds import Fold
from pathray.evaluation.labelled import find_labelled
from pathray.evaluation.sealed import Development, SealedTest, seal
from pathray.finetuning.fold import Unlabelled
from pathray.finetuning.foldobjects import find_fold, put_outcome
from pathray.finetuning.judging import judge, open_test
from pathray.finetuning.predictiontable import prediction_parquet
from pathray.finetuning.result import CohortCounts, FoldOutcome, RunResult
from pathray.finetuning.tiles.cohort import tile_cohort, tile_folds
from pathray.finetuning.tiles.probing import probe_fold
from pathray.finetuning.tiles.tuning import EPOCHS, PATIENCE, RATE, WEIGHT_DECAY, TuningPlan
from pathray.metadata import digest_of_lines

FOLDS = 5


@dataclass
class Snapshot:
    """How far a run is: what is being done, and of how many."""

    what: str = "starting"
    done: int = 0
    of: int = 0
    started: float = 0.0

    def line(self, job: str) -> str:
        """The run in one line."""
        if not self.of:
            return f"{job}: {self.what}"
        parts = [f"{self.done:,}/{self.of:,} {self.what}"]
        if self.done:
            rate = self.done / max(monotonic() - self.started, 1e-9)
            parts.append(f"{clock((self.of - self.done) / rate)} to go")
        return f"{job}: " + " · ".join(parts)


@dataclass(frozen=True)
class Request:
    """A run over labelled tiles."""

    out: str
    cohort: ClinicalCohort
    folds: list[Fold]
    embed_flags: embed.Flags
    choice: EncoderChoice


def finetune_tiles(flags: Flags) -> int:
    """Train and judge tile classifiers; returns the exit code."""
    started = monotonic()
    request = _settle(flags)
    works = [seal(request.cohort, fold) for fold in request.folds]
    state = Snapshot()
    progress = Progress("finetune", lambda: state)
    with connected(imports=("jobs.tilefeatures",)) as capacity:
        pool = choose_pool(request.embed_flags, capacity)
        described = describe(request.choice, pool)
        if flags.method == "full" and described.light:
            raise RequestError(f"--encoder {flags.encoder} has no weights to train")
        settings = _settings(flags, request, described, capacity)
        outputs.put_settings(request.out, settings)
        tracked = TrackedRun(request.out, flags.experiment, settings)
        progress.start()
        try:
            todo = [work for work in works if find_fold(request.out, work[0].fold.name) is None]
            if flags.method == "full":
                _tune(flags, request, capacity, todo, state)
            elif todo:
                vectors = dict(_vectors(request, described, pool, state))
                for development, sealed in todo:
                    unseen = Unlabelled(sealed.bags, sealed.patients)
                    put_outcome(request.out, probe_fold(vectors, development, unseen, flags.method))
        except BaseException:
            tracked.fail()
            raise
        finally:
            progress.stop()
    result = _judged(flags, request, described, settings, works, monotonic() - started)
    return _publish(request, result, tracked, len(works) - len(todo), monotonic() - started)


def _settle(flags: Flags) -> Request:
    out = storage.absolute(flags.out)
    outputs.refuse_foreign(out)
    cohort = tile_cohort(find_labelled(storage.absolute(str(flags.tiles)), "--tiles"))
    named = ("encoder", "weights", "random_init", "seed")
    told = {name: getattr(flags, name) for name in named} | {"slides": "tiles", "out": flags.out}
    precision = "fp32" if flags.method == "full" else flags.precision
    embed_flags = validate(embed.Flags, told | {"precision": precision})
    folds = tile_folds(cohort, flags.folds or FOLDS, flags.seed)
    return Request(out, cohort, folds, embed_flags, choose_encoder(embed_flags))


def _settings(
    flags: Flags, request: Request, described: Described, capacity: Capacity
) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "kind": "tile models",
        "method": flags.method,
        "folds": len(request.folds),
        "seed": flags.seed,
        "cohort_digest": _cohort_digest(request.cohort),
        "encoder_digest": described.digest,
        "encoder_precision": described.precision,
    }
    return settings | (asdict(_plan(flags, capacity)) if flags.method == "full" else {})


def _cohort_digest(cohort: ClinicalCohort) -> str:
    values = getattr(cohort.target, "values", ())
    rows = zip(cohort.slide_ids, cohort.patient_ids, values, strict=True)
    return digest_of_lines([f"{tile}\t{group}\t{value}" for tile, group, value in rows])


def _plan(flags: Flags, capacity: Capacity) -> TuningPlan:
    return TuningPlan(
        rate=flags.lr or RATE,
        weight_decay=WEIGHT_DECAY if flags.weight_decay is None else flags.weight_decay,
        layer_decay=flags.layer_decay,
        batch=flags.batch_size,
        epochs=flags.epochs or EPOCHS,
        patience=flags.patience or PATIENCE,
        bf16=flags.precision == "bf16" or (flags.precision == "auto" and capacity.gpus >= 1),
        seed=flags.seed,
    )


def _vectors(
    request: Request, described: Described, pool: Any, state: Snapshot
) -> Iterator[tuple[str, Any]]:
    uris = request.cohort.slide_ids
    state.what, state.of, state.started = "tiles embedded", len(uris), monotonic()
    for pair in tile_vectors(uris, request.choice, described, pool):
        state.done += 1
        yield pair


def _tune(
    flags: Flags,
    request: Request,
    capacity: Capacity,
    todo: list[tuple[Development, SealedTest]],
    state: Snapshot,
) -> None:
    choice, plan = replace(request.choice, precision="fp32"), _plan(flags, capacity)
    state.what, state.of, state.started = "folds", len(todo), monotonic()
    works = [
        TuneFold(development, Unlabelled(s.bags, s.patients), choice, plan, request.out)
        for development, s in todo
    ]
    for _ in tune_folds(works, flags, capacity):
        state.done += 1


def _judged(
    flags: Flags,
    request: Request,
    described: Described,
    settings: dict[str, Any],
    works: list[tuple[Development, SealedTest]],
    seconds: float,
) -> RunResult:
    records = []
    for development, sealed in works:
        outcome: FoldOutcome | None = find_fold(request.out, development.fold.name)
        assert outcome is not None
        records.append(open_test(outcome, sealed))
    classes: tuple[str, ...] = getattr(request.cohort.target, "classes", ())
    return RunResult(
        target="label",
        task="classification",
        classes=classes,
        level="tile",
        settings=settings,
        embeddings={
            "encoder": described.name,
            "encoder_digest": described.digest,
            "mpp": described.mpp,
            "tile_size": described.tile_size,
            "dim": described.dim,
        },
        cohort=_counts(request.cohort, classes, settings["cohort_digest"]),
        folds=tuple(records),
        evaluation=judge(records, classes, flags.seed),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        seconds=round(seconds, 2),
    )


def _counts(cohort: ClinicalCohort, classes: tuple[str, ...], digest: str) -> CohortCounts:
    values = getattr(cohort.target, "values", ())
    owners = list(zip(cohort.patient_ids, values, strict=True))
    groups = {
        name: len({group for group, value in owners if value == number})
        for number, name in enumerate(classes)
    }
    return CohortCounts(
        slides=len(cohort),
        patients=len(set(cohort.patient_ids)),
        tiles=len(cohort),
        groups=groups,
        joined_on="slide_id",
        left_out=(),
        warnings=(),
        notes=(),
        digest=digest,
    )


def _publish(
    request: Request, result: RunResult, tracked: TrackedRun, before: int, seconds: float
) -> int:
    artefacts = {
        "result.json": result.model_dump_json(indent=1).encode(),
        "predictions.parquet": prediction_parquet(result),
    }
    for name, content in artefacts.items():
        storage.put_bytes(storage.join(request.out, name), content)
    tracked.finish(result, artefacts)
    done = f" ({before} of them before this run)" if before else ""
    head = f"finetune: {len(result.folds)} folds: all done{done}, {clock(seconds)}"
    places = [
        ("numbers", storage.join(request.out, "result.json")),
        ("tests", storage.join(request.out, "predictions.parquet")),
    ]
    if result.settings["method"] == "full":
        places.append(("models", storage.join(request.out, "fold-<name>", "encoder")))
    summary(head, result, places)
    return 0
