"""The code that a job takes to the cluster: the packages `jobs` and `pathray`, nothing else."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import jobs
import pathray
from jobs.submitted import ENVIRONMENT


def put_package(folder: Path, code: bool, environment: Mapping[str, str]) -> None:
    """Fill a folder that becomes the job's working directory.

    The packages lie at its top, where Python finds them before those of the cluster's image.
    """
    if code:
        for package in (jobs, pathray):
            source = Path(package.__path__[0])
            ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
            shutil.copytree(source, folder / source.name, ignore=ignore)
    if environment:
        sent = folder / ENVIRONMENT
        sent.write_text(json.dumps(dict(environment)))
        sent.chmod(0o600)
