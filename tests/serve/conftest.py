"""One real Serve instance for all tests of the endpoints, on a Ray of its own."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from serving import free_port, settings_in, write_slide

from jobs.serve import read_config, running
from pathray.client import Client
from serve.keys import hash_key, new_key


@dataclass(frozen=True)
class Service:
    """The running service: where it is, who may ask, its slides' folder and its config file."""

    url: str
    key: str
    folder: Path
    config: dict[str, Any]

    def client(self, **more: Any) -> Client:
        return Client(self.url, self.key, **more)


def config_of(folder: Path, key: str, port: int, **more: Any) -> dict[str, Any]:
    """A Serve config file's content for a small machine."""
    told = settings_in(folder, **more)
    small = {"ray_actor_options": {"num_cpus": 0.1}}
    names = ("Encoder", "SlidePredictor", "SlideWorker", "SlideSquares")
    access = {"keys": [{"name": "tests", "sha256": hash_key(key)}]}
    return {
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [
            {
                "name": "pathray",
                "route_prefix": "/",
                "import_path": "serve.app:build",
                "args": told.model_dump(mode="json"),
                "deployments": [
                    {"name": "Ingress", "user_config": access, **small},
                    *({"name": name, **small} for name in names),
                ],
            }
        ],
    }


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
