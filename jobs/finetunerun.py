"""What `pathray finetune` runs: settle, pack, spread the folds, judge, register, summarise."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from time import monotonic

from jobs.cluster import Capacity, connected
from jobs.finetune import Flags
from jobs.finetunefolds import FoldWork, pack, seed_of, shared_of, train_folds
from jobs.finetunefollow import Follower
from jobs.finetunepublish import publish
from jobs.finetunerequest import Request, claim, gpus_per_fold, settle
from jobs.finetunetrack import TrackedRun
from pathray import __version__
from pathray.errors import PathrayError
from pathray.evaluation.sealed import SealedTest, seal
from pathray.finetuning.fold import Unlabelled
from pathray.finetuning.foldobjects import find_fold
from pathray.finetuning.judging import judge, open_test
from pathray.finetuning.result import FoldOutcome, RunResult

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
    result = _judged(request, outcomes, tests, flags, monotonic() - started)
    return publish(flags, request, result, outcomes, tracked, follower.head())


def _divide(request: Request, flags: Flags) -> tuple[list[FoldWork], dict[str, SealedTest]]:
    """What each fold's training may see, and the tests, which stay here."""
    works, tests = [], {}
    for position, fold in enumerate(request.folds):
        development, sealed = seal(request.cohort, fold, request.recipe.level)
        unseen = request.cohort.of_patients(fold.test)
        tested = Unlabelled(unseen.slide_ids, unseen.patient_ids)
        works.append(FoldWork(development, tested, seed_of(flags.seed, fold, position)))
        tests[fold.name] = sealed
    return works, tests


def _train(request: Request, flags: Flags, capacity: Capacity, works: list[FoldWork]) -> Follower:
    todo = [work for work in works if find_fold(request.out, work.name) is None]
    gpus = gpus_per_fold(flags, capacity)
    with Follower(request, len(works) - len(todo)) as follower:
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
    flags: Flags,
    seconds: float,
) -> RunResult:
    records = tuple(open_test(outcomes[name], tests[name]) for name in tests)
    return RunResult(
        target=request.target,
        task="classification" if request.classes else "survival",
        classes=request.classes,
        level=request.recipe.level,
        settings=request.settings | {"time_unit": flags.time_unit},
        embeddings=asdict(request.made),
        cohort=request.counts,
        folds=records,
        evaluation=judge(records, request.classes, flags.seed),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        seconds=round(seconds, 2),
    )
