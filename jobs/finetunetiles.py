"""What `pathray finetune --level tile` runs: probes of frozen vectors, or the whole encoder."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from jobs.cluster import Capacity, connected
from jobs.encoding import Described, choose_pool, describe
from jobs.finetune import Flags
from jobs.finetunefollow import summary
from jobs.finetunetilesrequest import Request, counts_of, plan_of, settings_of, settle
from jobs.finetunetrack import TrackedRun
from jobs.progress import Progress, clock
from jobs.tilefeatures import tile_vectors
from jobs.tiletuning import TuneFold, tune_folds
from pathray import __version__, outputs, storage
from pathray.errors import RequestError
from pathray.evaluation.sealed import Development, SealedTest, seal
from pathray.finetuning.fold import Unlabelled
from pathray.finetuning.foldobjects import find_fold, put_outcome
from pathray.finetuning.judging import judge, open_test
from pathray.finetuning.predictiontable import prediction_parquet
from pathray.finetuning.result import FoldOutcome, RunResult
from pathray.finetuning.tiles.probing import probe_fold


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


def finetune_tiles(flags: Flags) -> int:
    """Train and judge tile classifiers; returns the exit code."""
    started = monotonic()
    request = settle(flags)
    works = [seal(request.cohort, fold) for fold in request.folds]
    state = Snapshot()
    progress = Progress("finetune", lambda: state)
    with connected(imports=("jobs.tilefeatures",)) as capacity:
        pool = choose_pool(request.embed_flags, capacity)
        described = describe(request.choice, pool)
        if flags.method == "full" and described.light:
            raise RequestError(f"--encoder {flags.encoder} has no weights to train")
        settings = settings_of(flags, request, described, capacity)
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
    choice, plan = replace(request.choice, precision="fp32"), plan_of(flags, capacity)
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
        cohort=counts_of(request.cohort, classes, settings["cohort_digest"]),
        folds=tuple(records),
        evaluation=judge(records, classes, flags.seed),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        seconds=round(seconds, 2),
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
