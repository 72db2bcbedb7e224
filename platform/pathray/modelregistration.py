"""Putting a slide or tile model into the MLflow registry: files, signature, alias.

What is logged is our own directory (JSON and safetensors) with MLflow's description beside it,
of a flavor of our own: no part of it is a pickle, and no part of MLflow loads it.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pathray import __version__, storage
from pathray.errors import PathrayError, one_line
from pathray.slidemodel import SlideModel, load_slide_model
from pathray.tilemodel import ENCODERS, TileModel, load_tile_model

FLAVOR, FOLDER, DIGEST_TAG = "pathray", "model", "pathray.digest"


@dataclass(frozen=True)
class _Registrable:
    """What a registry is told of a model; `facts` are those of its flavor."""

    digest: str
    signature: Any
    facts: Mapping[str, Any]


def register(directory: str, run_id: str, name: str, alias: str) -> str:
    """Log the slide model of a directory (any URI) to a run and register it.

    Returns `models:/NAME/VERSION`; the alias means it from now on. A model that the alias means
    already is not registered again. PathrayError when the registry refuses or is out of reach.
    """
    model = load_slide_model(directory)
    head = model.head
    facts = {
        "target": head.target,
        "level": head.level,
        "encoder_digest": head.made.encoder_digest,
        "mpp": head.made.mpp,
        "tile_size": head.made.tile_size,
    }
    told = _Registrable(model.digest, signature_of(model), facts)
    return _register(directory, told, run_id, name, alias)


def register_tile_model(directory: str, run_id: str, name: str, alias: str) -> str:
    """As `register`, of a tile model. Its own encoders stay where they are: they are heavy."""
    model = load_tile_model(directory)
    spec = model.spec
    facts = {
        "target": spec.target,
        "level": "tile",
        "encoder_digest": " ".join(spec.encoder_digests),
        "tile_size": f"{spec.width} x {spec.height}",
    }
    told = _Registrable(model.digest, tile_signature_of(model), facts)
    return _register(directory, told, run_id, name, alias)


def _register(directory: str, told: _Registrable, run_id: str, name: str, alias: str) -> str:
    try:
        if (known := _current(name, alias, told.digest)) is not None:
            return f"models:/{name}/{known}"
        with tempfile.TemporaryDirectory(prefix="pathray-register-") as temporary:
            folder = Path(temporary) / FOLDER
            _copy(directory, folder)
            _describe(told, run_id, folder)
            version = _log(folder, run_id, name, alias, told.digest)
    except Exception as error:  # each store has its own exceptions
        raise PathrayError(f"the model is not registered: {one_line(error, 200)}") from error
    return f"models:/{name}/{version}"


def _current(name: str, alias: str, digest: str) -> str | None:
    """The version that the alias means, where it is this model."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        version = MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return str(version.version) if version.tags.get(DIGEST_TAG) == digest else None


def _copy(directory: str, folder: Path) -> None:
    """All files but the encoders of a tile model."""
    for entry in storage.list_objects(directory):
        name = entry.uri.removeprefix(directory.rstrip("/") + "/")
        if name.startswith(f"{ENCODERS}/"):
            continue
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(storage.read_bytes(entry.uri))


def _describe(told: _Registrable, run_id: str, folder: Path) -> None:
    from mlflow.models import Model

    described = Model(artifact_path=FOLDER, run_id=run_id, signature=told.signature)
    described.add_flavor(FLAVOR, pathray_version=__version__, digest=told.digest, **told.facts)
    described.save(str(folder / "MLmodel"))


def signature_of(model: SlideModel) -> Any:
    """MLflow's signature: embeddings (tiles, D) to probabilities (C,), or to a risk (1,)."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    head = model.head
    out = ("probabilities", len(head.classes)) if head.classes else ("risk", 1)
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, head.made.dim), "embeddings")]),
        outputs=Schema([TensorSpec(np.dtype(np.float64), (out[1],), out[0])]),
    )


def tile_signature_of(model: TileModel) -> Any:
    """MLflow's signature: vectors (tiles, D), or where the model has its own encoders tiles
    (tiles, height, width, 3), to probabilities (tiles, C)."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    spec = model.spec
    inputs = (
        TensorSpec(np.dtype(np.float32), (-1, spec.dim), "embeddings")
        if spec.method == "linear"
        else TensorSpec(np.dtype(np.uint8), (-1, spec.height, spec.width, 3), "tiles")
    )
    out = TensorSpec(np.dtype(np.float64), (-1, len(spec.classes)), "probabilities")
    return ModelSignature(inputs=Schema([inputs]), outputs=Schema([out]))


def _log(folder: Path, run_id: str, name: str, alias: str, digest: str) -> str:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient()
    client.log_artifacts(run_id, str(folder), FOLDER)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{FOLDER}"
    version = client.create_model_version(name, source, run_id, tags={DIGEST_TAG: digest})
    client.set_registered_model_alias(name, alias, version.version)
    return str(version.version)
