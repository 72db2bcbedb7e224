"""One real Serve instance for all tests of the endpoints, on a Ray of its own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.extend(str(Path(__file__).parents[1] / name) for name in ("unit", "cluster", "s3"))

from serving import free_port, write_slide
from small_service import Service, config_of

from jobs.serve import read_config, running
from serve.keys import new_key


@pytest.fixture(scope="session")
def own_ray() -> Iterator[None]:
    import ray

    # Other packages' tests may hold a Ray of theirs in this process.
    if ray.is_initialized():
        ray.shutdown()
    os.environ.pop("RAY_ADDRESS", None)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def service(own_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("served")
    write_slide(folder / "slides" / "one.tif")
    key, port = new_key(), free_port()
    limits = {"concurrent_requests": 8}
    config = config_of(folder, key, port, limits=limits)
    with running(read_config(config, None, None)):
        yield Service(f"http://127.0.0.1:{port}", key, folder, config)
