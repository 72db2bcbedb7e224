"""The objects of a finished fold, complete or absent.

<out>/fold-<name>/head.json, model.safetensors   its model (`pathray.mil.head`)
<out>/fold-<name>/outcome.json                   its answers; put last
"""

from urllib.parse import quote

from pydantic import ValidationError

from pathray import storage
from pathray.errors import RequestError, one_line
from pathray.finetuning.fold import FoldModel
from pathray.finetuning.result import FoldOutcome
from pathray.mil.aggregator import Aggregator
from pathray.mil.head import Head, load_head, save_head

OUTCOME = "outcome.json"


def fold_folder(out: str, name: str) -> str:
    """Where the objects of a fold lie. Names may come from a split file, so they are quoted."""
    return storage.join(out, f"fold-{quote(name, safe='')}")


def put_fold(out: str, made: FoldModel) -> None:
    """Write a fold. A rerun writes the same objects again."""
    folder = fold_folder(out, made.outcome.fold)
    save_head(folder, made.head, made.model)
    put_outcome(out, made.outcome)


def put_outcome(out: str, outcome: FoldOutcome) -> None:
    """Write a fold that has no model of its own."""
    uri = storage.join(fold_folder(out, outcome.fold), OUTCOME)
    storage.put_bytes(uri, outcome.model_dump_json().encode())


def find_fold(out: str, name: str) -> FoldOutcome | None:
    """A finished fold's answers, or None. RequestError when they are damaged."""
    uri = storage.join(fold_folder(out, name), OUTCOME)
    try:
        return FoldOutcome.model_validate_json(storage.read_bytes(uri))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise RequestError(
            f"--out: {uri} is damaged ({one_line(error, 120)}): remove it"
        ) from error
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--out: {storage.reason(uri, error)}") from error


def load_fold_model(out: str, outcome: FoldOutcome) -> tuple[Head, Aggregator]:
    """A finished fold's model."""
    return load_head(fold_folder(out, outcome.fold))
