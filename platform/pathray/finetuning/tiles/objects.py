"""The objects of a fold of tile models, and the ensemble made of them.

<out>/fold-<name>/encoder/           of `full`: an encoder directory, as `embed --encoder` takes it
<out>/fold-<name>/head.safetensors   the linear layer on it, or on a frozen encoder (not of `knn`)
<out>/fold-<name>/outcome.json       its answers; put last
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import safetensors.numpy

from pathray import storage
from pathray.encoders.checkpoint import read_object
from pathray.encoders.directory import DESCRIPTION, WEIGHTS, write_directory
from pathray.encoders.spec import EncoderSpec
from pathray.errors import RequestError, one_line
from pathray.finetuning.foldobjects import fold_folder, put_outcome
from pathray.finetuning.result import FoldOutcome
from pathray.finetuning.tiles.tuning import TileClassifier
from pathray.tilemodel import ENCODERS, TileHead, TileModelSpec, save_tile_model

ENCODER, HEAD = "encoder", "head.safetensors"


def put_probed(out: str, outcome: FoldOutcome, head: TileHead | None) -> None:
    """Write a fold of a probe; nearest neighbours have no head."""
    if head is not None:
        _put_head(out, outcome.fold, head)
    put_outcome(out, outcome)


def put_tuned(out: str, outcome: FoldOutcome, spec: EncoderSpec, model: TileClassifier) -> None:
    """Write a fold. `spec` is that of the encoder it began from; the classes are the run's."""
    named = replace(
        spec,
        name=f"{spec.name}-tuned-{outcome.fold}",
        weights=None,
        source=f"fine-tuned from {spec.name}",
    )
    folder = storage.join(fold_folder(out, outcome.fold), ENCODER)
    digest = write_directory(folder, named, model.network.state_dict())
    arrays = (
        tensor.detach().cpu().double().numpy() for tensor in (model.head.weight, model.head.bias)
    )
    _put_head(out, outcome.fold, TileHead(*arrays))
    put_outcome(out, outcome.model_copy(update={"digest": digest}))


def _put_head(out: str, fold: str, head: TileHead) -> None:
    arrays = {"weight": np.ascontiguousarray(head.weight), "bias": head.bias}
    uri = storage.join(fold_folder(out, fold), HEAD)
    storage.put_bytes(uri, safetensors.numpy.save(arrays))


def load_fold_head(out: str, fold: str) -> TileHead:
    """A finished fold's linear layer; RequestError where it is damaged or gone."""
    uri = storage.join(fold_folder(out, fold), HEAD)
    try:
        arrays = safetensors.numpy.load(read_object(uri))
        return TileHead(arrays["weight"], arrays["bias"])
    except RequestError:
        raise
    except Exception as error:  # safetensors has its own
        raise RequestError(f"--out: {uri} is damaged ({one_line(error, 120)})") from error


def put_ensemble(out: str, model: str, spec: TileModelSpec, folds: Sequence[str]) -> str:
    """Write the tile model of all folds to a directory; returns its digest.

    The encoders of `full` are copied into it, so that it is whole without the folds.
    """
    if spec.method == "full":
        for number, fold in enumerate(folds):
            source = storage.join(fold_folder(out, fold), ENCODER)
            _copy_encoder(source, storage.join(model, ENCODERS, str(number)))
    return save_tile_model(model, spec, [load_fold_head(out, fold) for fold in folds])


def _copy_encoder(source: str, destination: str) -> None:
    """An encoder directory, its description last; one that is there already stays."""
    described = read_object(storage.join(source, DESCRIPTION))
    there = storage.join(destination, DESCRIPTION)
    if storage.exists(there) and read_object(there) == described:
        return
    storage.put_bytes(
        storage.join(destination, WEIGHTS), read_object(storage.join(source, WEIGHTS))
    )
    storage.put_bytes(there, described)
