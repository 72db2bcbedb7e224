"""One local Ray for all cluster tests, and slides to run on."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.cli import main
from pathray.synthetic import make_cohort


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of this test session, which the jobs find and use."""
    import ray

    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@dataclass(frozen=True)
class Outcome:
    """What a job printed and returned."""

    code: int
    out: str
    err: str


@pytest.fixture
def pathray(local_ray: None, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs `pathray …` on the session's Ray."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        printed = capfd.readouterr()
        return Outcome(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small synthetic slides (real pyramidal TIFFs), with its cohort.csv."""
    folder = tmp_path_factory.mktemp("drawn")
    make_cohort(folder, patients=2)
    return folder


@pytest.fixture
def slides(drawn: Path, tmp_path: Path) -> Path:
    """A folder of this test's own with two good slides."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for slide in sorted(drawn.rglob("*.tif*"))[:2]:
        shutil.copy(slide, folder / slide.name)
    return folder
