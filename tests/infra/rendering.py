"""Finding one's way in rendered manifests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
OVERLAYS = ("cpu", "gpu", "aws")
PARTS = ("", "jobs", "serve")
KUSTOMIZATIONS = [f"overlays/{name}/{part}".rstrip("/") for name in OVERLAYS for part in PARTS]
CRDS = {
    "RayCluster": "ray.io_rayclusters.yaml",
    "RayJob": "ray.io_rayjobs.yaml",
    "RayService": "ray.io_rayservices.yaml",
}
Object = dict[str, Any]


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
