"""What `pathray finetune` runs: settle, pack, spread the folds, judge, register, summarise."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from time import monotonic

from jobs.cluster import Capacity, connected
from jobs.finetune import Flags
from jobs.finetunefolds import FoldWork, pack, seed_of, shared_of, train_folds
from jobs.finetunefollow import Follower, summary
from jobs.finetunerequest import Request, claim, gpus_per_fold, settle
from jobs.finetunetrack import TrackedRun
from pathray import __version__, storage
from pathray.errors import PathrayError
from pathray.evaluation.sealed import SealedTest, seal
from pathray.finetuning.fold import Tested
from pathray.finetuning.foldobjects import find_fold, load_fold_model
from pathray.finetuning.judging import judge, open_test
from pathray.finetuning.predictiontable import prediction_parquet
from pathray.finetuning.result import FoldOutcome, RunResult
from pathray.modelregistration import register
from pathray.slidemodel import save_slide_model

RESULT, PREDICTIONS, MODEL = "result.json", "predictions.parquet", "model"
IMPORTS = ("pathray.finetuning.fold", "jobs.finetunefolds")


def finetune(flags: Flags) -> int:
    """Train, judge and register; returns the exit code."""
    started = monotonic()
    request = settle(flags)
    works, tests = _divide(request, flags)
    with connected(imports=IMPORTS) as capacity:
        pack(shared_of(request, flags, capacity), flags.cpus_per_fold)
        request = claim(request, flags, capacity)
        tracked = TrackedRun(request.out, flags.experiment, request.settings)
        try:
            follower = _train(request, flags, capacity, works)
        except BaseException:
            tracked.fail()
            raise
    if follower.failed:
        tracked.fail()
        follower.tell_failures()
        return 1
    outcomes = {name: _finished(request, name) for name in tests}
    result = _judged(request, outcomes, tests, flags.seed, monotonic() - started)
    return _publish(flags, request, result, outcomes, tracked, follower.head())


def _divide(request: Request, flags: Flags) -> tuple[list[FoldWork], dict[str, SealedTest]]:
    """What each fold's training may see, and the tests, which stay here."""
    works, tests = [], {}
    for position, fold in enumerate(request.folds):
        development, sealed = seal(request.cohort, fold, request.recipe.level)
        unseen = request.cohort.of_patients(fold.test)
        tested = Tested(unseen.slide_ids, unseen.patient_ids)
        works.append(FoldWork(development, tested, seed_of(flags.seed, fold, position)))
        tests[fold.name] = sealed
    return works, tests


def _train(request: Request, flags: Flags, capacity: Capacity, works: list[FoldWork]) -> Follower:
    todo = [work for work in works if find_fold(request.out, work.name) is None]
    gpus = gpus_per_fold(flags, capacity)
    slots = int(min(capacity.cpus / flags.cpus_per_fold, capacity.gpus / gpus if gpus else 1e9))
    with Follower(request, len(works) - len(todo), max(1, slots)) as follower:
        shared = shared_of(request, flags, capacity)
        for event in train_folds(shared, todo, flags.cpus_per_fold, gpus):
            follower.take(event)
    return follower


def _finished(request: Request, name: str) -> FoldOutcome:
    outcome = find_fold(request.out, name)
    if outcome is None:
        raise PathrayError(f"--out: the objects of fold {name} are gone: run again")
    return outcome


def _judged(
    request: Request,
    outcomes: Mapping[str, FoldOutcome],
    tests: Mapping[str, SealedTest],
    seed: int,
    seconds: float,
) -> RunResult:
    records = tuple(open_test(outcomes[name], tests[name]) for name in tests)
    return RunResult(
        target=request.target,
        task="classification" if request.classes else "survival",
        classes=request.classes,
        level=request.recipe.level,
        settings=request.settings,
        embeddings=asdict(request.made),
        cohort=request.counts,
        folds=records,
        evaluation=judge(records, request.classes, seed),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        seconds=round(seconds, 2),
    )


def _publish(
    flags: Flags,
    request: Request,
    result: RunResult,
    outcomes: Mapping[str, FoldOutcome],
    tracked: TrackedRun,
    head: str,
) -> int:
    """Put the results, tell MLflow, say the last words; returns the exit code."""
    out = request.out
    artefacts = {
        RESULT: result.model_dump_json(indent=1).encode(),
        PREDICTIONS: prediction_parquet(result),
    }
    for name, content in artefacts.items():
        storage.put_bytes(storage.join(out, name), content)
    model = storage.join(out, MODEL)
    heads = [load_fold_model(out, outcome) for outcome in outcomes.values()]
    save_slide_model(model, heads, flags.time_unit)
    places = [
        ("numbers", storage.join(out, RESULT)),
        ("tests", storage.join(out, PREDICTIONS)),
        ("model", model),
    ]
    run_id = tracked.finish(result, artefacts)
    failure = None
    if flags.registered:
        try:
            if run_id is None:
                raise PathrayError("the model is not registered: MLflow is out of reach")
            version = register(model, run_id, flags.registered, flags.alias)
            places.append(("model", f"models:/{flags.registered}@{flags.alias} ({version})"))
        except PathrayError as error:
            failure = str(error)
    summary(head, result, places)
    if failure:
        print(f"  failed  {failure}")
    return 1 if failure else 0
