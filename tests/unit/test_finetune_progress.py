"""What a person reads while folds are trained."""

from jobs.finetune import Flags
from jobs.finetunefollow import Snapshot, told
from jobs.finetunepublish import command_of
from pathray.evaluation.bootstrap import Estimate


def test_the_first_epochs_only_bound_the_time_to_go() -> None:
    running = {"1": (9, 0.5), "0": (9, 0.4)}
    snapshot = Snapshot(5, done=0, failed=0, epochs=100, seconds=10.0, running=running)
    assert snapshot.line("finetune") == (
        "finetune: 0/5 folds · fold 0 epoch 10, validation loss 0.400 · "
        "fold 1 epoch 10, validation loss 0.500 · at most 4:00 to go"
    )


def test_finished_folds_tell_the_time_to_go() -> None:
    snapshot = Snapshot(5, done=3, failed=0, epochs=100, seconds=60.0, new=2)
    assert snapshot.line("finetune") == "finetune: 3/5 folds · 1:00 to go"


def test_measures_are_told_with_their_intervals() -> None:
    assert told(Estimate(0.9, 0.8, 0.95, 2000, 0)) == "0.900 (0.800 to 0.950)"
    assert told(Estimate(None, None, None, 2000, 2000)) == "undefined"
    assert told(Estimate(0.9, None, None, 2000, 1500)) == "0.900"


def test_the_command_of_a_run_can_be_given_again() -> None:
    values = {"embeddings": "e", "cohort": "a b.csv", "target": "y", "out": "o", "register": "m"}
    flags = Flags.model_validate(values | {"class_balance": False, "folds": 3})
    said = command_of(flags)
    assert "--cohort 'a b.csv'" in said
    assert "--register m" in said
    assert "--no-class-balance" in said
    assert "--folds 3" in said
