"""The manifests as a cluster would get them, and the schemas that they must meet."""

import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml
from rendering import CRDS, INFRA, KUSTOMIZATIONS, Object, strict


def _kustomize() -> list[str]:
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(command[0]):
            return command
    # Neither PyPI nor Debian has one that knows components: nothing here can install it.
    pytest.skip("neither kubectl nor kustomize is installed")


@pytest.fixture(scope="session")
def render() -> Callable[[str], list[Object]]:
    """The objects of a kustomization under infra/."""
    command = _kustomize()

    @cache
    def render(folder: str) -> list[Object]:
        done = subprocess.run(
            [*command, str(INFRA / folder)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return list(yaml.load_all(done.stdout, yaml.CSafeLoader))

    return render


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
