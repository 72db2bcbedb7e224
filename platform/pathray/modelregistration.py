"""Putting a slide model into the MLflow registry: files, signature, alias.

What is logged is our own directory (JSON and safetensors) with MLflow's description beside it,
of a flavor of our own: no part of it is a pickle, and no part of MLflow loads it.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pathray import __version__, storage
from pathray.errors import PathrayError, one_line
from pathray.slidemodel import SlideModel, load_slide_model

FLAVOR, FOLDER, DIGEST_TAG = "pathray", "model", "pathray.digest"


def register(directory: str, run_id: str, name: str, alias: str) -> str:
    """Log the slide model of a directory (any URI) to a run and register it.

    Returns `models:/NAME/VERSION`; the alias means it from now on. A model that the alias means
    already is not registered again. PathrayError when the registry refuses or is out of reach.
    """
    model = load_slide_model(directory)
    try:
        if (known := _current(name, alias, model.digest)) is not None:
            return f"models:/{name}/{known}"
        with tempfile.TemporaryDirectory(prefix="pathray-register-") as temporary:
            folder = Path(temporary) / FOLDER
            _copy(directory, folder)
            _describe(model, run_id, folder)
            version = _log(folder, run_id, name, alias, model.digest)
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
    for entry in storage.list_objects(directory):
        place = folder / entry.uri.removeprefix(directory.rstrip("/") + "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(storage.read_bytes(entry.uri))


def _describe(model: SlideModel, run_id: str, folder: Path) -> None:
    from mlflow.models import Model

    head = model.head
    described = Model(artifact_path=FOLDER, run_id=run_id, signature=signature_of(model))
    described.add_flavor(
        FLAVOR,
        pathray_version=__version__,
        digest=model.digest,
        target=head.target,
        level=head.level,
        encoder_digest=head.made.encoder_digest,
        mpp=head.made.mpp,
        tile_size=head.made.tile_size,
    )
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
