"""Rendered manifests: those that are committed, and finding one's way in them.

No package that CI can install renders kustomize's components, so what `kubectl kustomize` makes of
each overlay lies in `rendered/`. As a program (`make manifests`) this renews it.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
RENDERED = Path(__file__).parent / "rendered"
OVERLAYS = ("cpu", "gpu", "aws")
PARTS = ("", "jobs", "serve")
KUSTOMIZATIONS = [f"overlays/{name}/{part}".rstrip("/") for name in OVERLAYS for part in PARTS]
CRDS = {
    "RayCluster": "ray.io_rayclusters.yaml",
    "RayJob": "ray.io_rayjobs.yaml",
    "RayService": "ray.io_rayservices.yaml",
}
Object = dict[str, Any]
WORTH_A_NAME = 300
"""Characters of JSON from which on what is there twice is written once, as a YAML anchor."""


def kustomize() -> list[str] | None:
    """The command that renders here, if there is one."""
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(command[0]):
            return command
    return None


def rendered(command: list[str], folder: str) -> list[Object]:
    """The objects of a kustomization under infra/, rendered now."""
    done = subprocess.run(
        [*command, str(INFRA / folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, yaml.CSafeLoader))


@cache
def committed(overlay: str) -> dict[str, list[Object]]:
    """The objects of an overlay's kustomizations, as they were rendered last."""
    text = (RENDERED / f"{overlay}.yaml").read_text()
    objects: dict[str, list[Object]] = yaml.load(text, yaml.CSafeLoader)
    return objects


def _shared(tree: Any, seen: dict[str, Any]) -> Any:
    """The tree with equal large parts being one object, which YAML writes once."""
    text = json.dumps(tree, sort_keys=True)
    if text in seen:
        return seen[text]
    if isinstance(tree, dict):
        tree = {key: _shared(value, seen) for key, value in tree.items()}
    elif isinstance(tree, list):
        tree = [_shared(value, seen) for value in tree]
    if isinstance(tree, dict | list) and len(text) >= WORTH_A_NAME:
        seen[text] = tree
    return tree


def _renew(command: list[str]) -> None:
    for overlay in OVERLAYS:
        folders = [each for each in KUSTOMIZATIONS if each.split("/")[1] == overlay]
        objects = {folder: rendered(command, folder) for folder in folders}
        text = yaml.dump(_shared(objects, {}), sort_keys=False, width=100)
        (RENDERED / f"{overlay}.yaml").write_text(f"# Made by `make manifests`.\n{text}")


def strict(schema: Any) -> Any:
    """JSON schema of a Kubernetes schema, closed where that one is a structure."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items() if not key.startswith("x-kube")}
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    if "properties" in schema and isinstance(schema["properties"], dict):
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
        closed["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
    return closed


def clusters(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every Ray cluster's specification, wherever it lies, with the name of what holds it."""
    for each in objects:
        spec, name = each.get("spec", {}), f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "RayCluster":
            yield name, spec
        elif each["kind"] in ("RayJob", "RayService"):
            yield name, spec["rayClusterSpec" if each["kind"] == "RayJob" else "rayClusterConfig"]


def groups(cluster: Object) -> Iterator[tuple[str, Object]]:
    """The head's and the workers' groups."""
    yield "head", cluster["headGroupSpec"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod template, wherever it lies."""
    for name, cluster in clusters(objects):
        for group, spec in groups(cluster):
            yield f"{name} {group}", spec["template"]
    for each in objects:
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield name, each["spec"]["template"]
        elif each["kind"] == "RayJob":
            yield f"{name} submitter", each["spec"]["submitterPodTemplate"]


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


if __name__ == "__main__":
    _command = kustomize()
    if _command is None:
        raise SystemExit("make manifests: neither kubectl nor kustomize is installed")
    _renew(_command)
