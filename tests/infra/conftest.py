"""The manifests as a cluster would get them, and the schemas that they must meet."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import yaml
from rendering import CRDS, KUSTOMIZATIONS, Object, committed, kustomize, rendered, strict


@pytest.fixture(scope="session")
def render() -> Callable[[str], list[Object]]:
    """The objects of a kustomization that is applied, as committed."""

    return lambda folder: committed(folder.split("/")[1])[folder]


@pytest.fixture(scope="session")
def render_now() -> Callable[[str], list[Object]]:
    """The objects of a kustomization under infra/, where something here can render."""
    command = kustomize()
    if command is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    return partial(rendered, command)


@pytest.fixture(params=KUSTOMIZATIONS)
def objects(render: Callable[[str], list[Object]], request: pytest.FixtureRequest) -> list[Object]:
    """The objects of each kustomization that is applied to a cluster."""
    return render(request.param)


@pytest.fixture(scope="session")
def crd(shared: Path) -> Callable[[str], Object]:
    """The schema of a KubeRay kind, strict: a field it does not know is an error."""

    @cache
    def schema(kind: str) -> Object:
        file = shared / "kuberay" / CRDS[kind]
        definition = yaml.load(file.read_text(), yaml.CSafeLoader)
        (version,) = [v for v in definition["spec"]["versions"] if v["name"] == "v1"]
        return strict(version["schema"]["openAPIV3Schema"])

    return schema


@pytest.fixture
def all_objects(render: Callable[[str], list[Object]]) -> list[Object]:
    """Everything that can be applied, of all kustomizations."""
    return [each for folder in KUSTOMIZATIONS for each in render(folder)]
