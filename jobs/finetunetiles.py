"""What `pathray finetune --level tile` runs: probes of frozen vectors, or the whole encoder."""

from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.cluster import Capacity, connected
from jobs.encoding import Described, Pool, choose_pool, describe
from jobs.finetune import Flags
from jobs.finetunetilespublish import publish
from jobs.finetunetilesrequest import Request, counts_of, plan_of, settings_of, settle
from jobs.finetunetrack import TrackedRun
from jobs.progress import Progress, clock
from jobs.tilefeatures import tile_vectors
from jobs.tileprogress import Snapshot
from jobs.tiletuning import TuneFold, tune_folds
from pathray import __version__, outputs
from pathray.errors import RequestError
from pathray.evaluation.sealed import Development, SealedTest, seal
from pathray.finetuning.fold import Unlabelled
from pathray.finetuning.foldobjects import find_fold
from pathray.finetuning.judging import judge, open_test
from pathray.finetuning.result import FoldOutcome, RunResult
from pathray.finetuning.tiles.objects import put_probed
from pathray.finetuning.tiles.probing import probe_fold


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
                vectors = _vectors(request, described, pool, state)
                for development, sealed in todo:
                    unseen = Unlabelled(sealed.bags, sealed.patients)
                    probed = probe_fold(vectors, development, unseen, flags.method)
                    put_probed(request.out, probed.outcome, probed.head)
        except BaseException:
            tracked.fail()
            raise
        finally:
            progress.stop()
    result = _judged(flags, request, described, settings, works, monotonic() - started)
    done = f" ({len(works) - len(todo)} of them before this run)" if len(todo) < len(works) else ""
    head = f"finetune: {len(works)} folds: all done{done}, {clock(monotonic() - started)}"
    return publish(flags, request, result, tracked, head)


def _vectors(
    request: Request, described: Described, pool: Pool, state: Snapshot
) -> dict[str, NDArray[np.float32]]:
    """Of each tile; RequestError for one that cannot be read or is of another size."""
    vectors: dict[str, NDArray[np.float32]] = {}
    uris = request.cohort.slide_ids
    state.what, state.of, state.started = "tiles embedded", len(uris), monotonic()
    for run in tile_vectors(uris, request.size, request.choice, described, pool):
        for error in run.failed.values():
            raise RequestError(f"--tiles: {error}")
        vectors.update(zip(run.uris, run.vectors, strict=True))
        state.done += len(run.uris)
    return vectors


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
            "mpp": None,  # tile files do not say
            "tile_size": str(request.size),
            "dim": described.dim,
        },
        cohort=counts_of(request.cohort, classes, settings["cohort_digest"]),
        folds=tuple(records),
        evaluation=judge(records, classes, flags.seed),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        seconds=round(seconds, 2),
    )
