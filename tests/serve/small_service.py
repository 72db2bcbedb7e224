"""The endpoints as a small machine runs them: what is configured, and how they are asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import settings_in

from pathray.client import Client
from serve.keys import hash_key


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
