"""Models of the MLflow registry: which version an alias means, and its files.

The server is MLflow's own choice (MLFLOW_TRACKING_URI, MLFLOW_REGISTRY_URI). Files are only
downloaded: nothing of MLflow's model loading, which would unpickle, is used.
"""

import os
import re

from pathray.errors import RequestError, one_line
from pathray.tracking import mlflow_client, wait_briefly

_URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))")

_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow answers for a name or alias that it does not hold."""


class RegistryAwayError(RequestError):
    """The registry gave no answer: what it said before may still hold."""


def is_registered(uri: str) -> bool:
    """Whether the URI means a model of the registry."""
    return uri.startswith("models:/")


def pin(uri: str) -> str:
    """`models:/NAME@ALIAS` as the `models:/NAME/VERSION` that it means now; others as they are.

    RequestError for a name or alias that is not there, RegistryAwayError (within half a
    minute) where the registry does not answer.
    """
    if not is_registered(uri):
        return uri
    found = _parts(uri)
    if found["version"]:
        return uri
    from mlflow.exceptions import MlflowException

    try:
        version = mlflow_client().get_model_version_by_alias(found["name"], found["alias"])
    except MlflowException as error:
        kind = RequestError if error.error_code in _NOT_THERE else RegistryAwayError
        raise kind(f"{uri}: {one_line(error, 200)}") from error
    return f"models:/{found['name']}/{version.version}"


def download(uri: str, folder: str) -> str:
    """Download a registered model's files below a local folder; returns their directory."""
    wait_briefly()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return str(download_artifacts(artifact_uri=pin(uri), dst_path=folder))
    except (MlflowException, OSError) as error:
        raise RequestError(f"cannot download {uri}: {one_line(error, 200)}") from error


def _parts(uri: str) -> re.Match[str]:
    found = _URI.fullmatch(uri)
    if found is None:
        raise RequestError(f"{uri} is neither models:/NAME@ALIAS nor models:/NAME/VERSION")
    return found
