"""Fixtures of the S3 tests: the servers, a bucket of either, one Ray, and the command."""

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from servers import ACCESS, SECRET, Bucket, Server, free_port, program, running, set_environment

from jobs.cli import main
from pathray.slides.pyramid import write_pyramid
from pathray.synthetic_slide import MPP, SlideRecipe, draw_slide

_numbers = itertools.count()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """moto's server: the whole of S3's semantics; keys are not checked."""
    port, log = free_port(), tmp_path_factory.mktemp("moto") / "requests.log"
    command = [program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with running("moto", command, log, port) as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`rclone serve s3` over a folder: keys are checked."""
    folder = tmp_path_factory.mktemp("rclone")
    port, log, root = free_port(), folder / "server.log", folder / "buckets"
    root.mkdir()
    keys = f"--auth-key={ACCESS},{SECRET}"
    command = [program("rclone"), "serve", "s3", str(root), f"--addr=127.0.0.1:{port}", keys]
    # Without this it would look for a configuration of the user's own.
    command += ["--config", os.devnull]
    with running("rclone", command, log, port) as server:
        yield server


def _bucket(server: Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket(server, f"cohort-{next(_numbers)}", server.client())
    bucket.client.create_bucket(Bucket=bucket.name)
    set_environment(monkeypatch, server.environment())
    return bucket


@pytest.fixture(params=["moto", "rclone"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket of each server in turn; the environment points at it."""
    return _bucket(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture
def moto_bucket(moto: Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket where S3's own semantics matter."""
    return _bucket(moto, monkeypatch)


@pytest.fixture
def rclone_bucket(rclone: Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket where the keys matter."""
    return _bucket(rclone, monkeypatch)


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """One Ray for all tests. It knows nothing of the stores: jobs must tell their workers."""
    # Both are read when Ray is imported.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as monkeypatch:
        set_environment(monkeypatch, {})
        head = {"num_cpus": 2, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster.address
    cluster.shutdown()


@dataclass(frozen=True)
class Outcome:
    """What a run of the command came to."""

    code: int
    text: str


Command = Callable[..., Outcome]


@pytest.fixture
def pathray(
    ray_address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`pathray JOB …` in this process, on the cluster of the session."""
    monkeypatch.setenv("RAY_ADDRESS", ray_address)

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = main(arguments)
        printed = capsys.readouterr()
        return Outcome(code, printed.out + printed.err)

    return run


@pytest.fixture(scope="session")
def drawn_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small invented slide as a pyramidal TIFF."""
    path = tmp_path_factory.mktemp("drawn") / "drawn.tif"
    pixels, _ = draw_slide(SlideRecipe(1200, 1000, density=2000.0, gland_share=0.3), np.random.default_rng(5))
    write_pyramid(path, pixels, MPP)
    return path


@pytest.fixture(scope="session")
def real_slide(shared: Path) -> Path:
    """A small crop of a whole H&E slide, Aperio, 0.263 mpp."""
    return shared / "data" / "slides" / "arachnoid-cyst-HE-crop.svs"


@pytest.fixture(scope="session")
def ndpi_slide(shared: Path) -> Path:
    """A Hamamatsu slide, which only OpenSlide reads."""
    return shared / "data" / "slides" / "test3-DAPI-2-387.ndpi"


@pytest.fixture(scope="session")
def dicom_slide(shared: Path) -> Path:
    """The folder of a DICOM slide: several files, one series."""
    return shared / "data" / "slides" / "dicom-ICE1-WDNET-duodenum-HE-crop"
