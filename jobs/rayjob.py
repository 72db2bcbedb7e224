"""A job as a RayJob of KubeRay that runs on a standing RayCluster."""

import shlex
from collections.abc import Sequence
from typing import Any

import yaml

MAX_NAME = 47
"""KubeRay makes other names of a RayJob's, and allows no longer ones."""


def render(job: str, argv: Sequence[str], name: str, cluster: str, namespace: str) -> str:
    """The YAML. Submitted over HTTP by the operator: no pod, no image, no secret in it.

    With a `clusterSelector` KubeRay neither retries nor deletes; a rerun resumes, and the
    autoscaler takes idle nodes away.
    """
    manifest: dict[str, Any] = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {
            "name": name[:MAX_NAME].rstrip("-"),
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "pathray", "pathray/job": job},
        },
        "spec": {
            "jobId": name,
            "submissionMode": "HTTPMode",
            "clusterSelector": {"ray.io/cluster": cluster},
            "entrypoint": shlex.join(["pathray", job, *argv]),
        },
    }
    return yaml.safe_dump(manifest, sort_keys=False, width=10_000)
