"""Fixtures of the S3 tests: the servers, a bucket of either, one Ray, and the command."""

import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from servers import Bucket, Server, forget_connections, moto, rclone, set_environment

from jobs.cli import main
from jobs.cluster import connected
from pathray.slides.pyramid import write_pyramid
from pathray.synthetic_slide import MPP, SlideRecipe, draw_slide

_numbers = itertools.count()
moto_only = pytest.mark.parametrize("server", ["moto"], indirect=True)
rclone_only = pytest.mark.parametrize("server", ["rclone"], indirect=True)


@pytest.fixture(scope="session", params=["moto", "rclone"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each S3 server in turn, with the environment that a user of it has."""
    start = {"moto": moto, "rclone": rclone}[request.param]
    with (
        start(tmp_path_factory.mktemp(request.param)) as running_server,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        set_environment(monkeypatch, running_server.environment())
        yield running_server


@pytest.fixture
def bucket(server: Server) -> Bucket:
    """An empty bucket of the server."""
    forget_connections()
    bucket = Bucket(server, f"cohort-{next(_numbers)}", server.client())
    bucket.client.create_bucket(Bucket=bucket.name)
    return bucket


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


@pytest.fixture(scope="session")
def connection(ray_address: str, server: Server) -> Iterator[None]:
    """The jobs' own connection to that Ray, kept from test to test to spare its workers' starts.

    It begins after `server` has set the environment, as a user's would.
    """
    assert server.environment().items() <= os.environ.items()
    import ray

    ray.shutdown()  # Another folder's tests may have left theirs, whose workers know no store.
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("RAY_ADDRESS", ray_address)
        with connected():
            yield


@dataclass(frozen=True)
class Outcome:
    """What a run of the command came to."""

    code: int
    text: str


Command = Callable[..., Outcome]


def run_command(*arguments: str) -> Outcome:
    """`pathray JOB …` in this process: what it returns and prints."""
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(text):
        code = main(arguments)
    return Outcome(code, text.getvalue())


@pytest.fixture(scope="session")
def pathray(connection: None) -> Command:
    """`pathray JOB …` in this process, on the session's Ray."""
    return run_command


@pytest.fixture(scope="session")
def request_only() -> Command:
    """`pathray JOB …` for requests that are refused before Ray is asked for anything."""
    return run_command


@pytest.fixture(scope="session")
def drawn_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small invented slide as a pyramidal TIFF."""
    path = tmp_path_factory.mktemp("drawn") / "drawn.tif"
    pixels, _ = draw_slide(
        SlideRecipe(1200, 1000, density=2000.0, gland_share=0.3), np.random.default_rng(5)
    )
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
