"""`serve deploy` to a Ray head with its dashboard: up, changed under load, down."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from crowd import embed, load, wait_for_more
from ray_head import TOKEN, Head, ray_head
from serving import free_port, wait_until
from small_service import config_of

from pathray.client import Client
from serve.keys import hash_key, new_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cluster:
    """A head, and the commands of a laptop that has its token."""

    head: Head
    folder: Path

    def serve(self, command: str, *arguments: str, answers: str | None = None) -> str:
        """`serve COMMAND`; what it prints."""
        done = subprocess.run(
            ["serve", command, "--address", self.head.url, *arguments],
            env=self.head.environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deploy(self, config: dict[str, Any]) -> None:
        """`serve deploy` of a config, until it says RUNNING."""
        path = self.folder / "serve.yaml"
        path.write_text(yaml.safe_dump(config))
        self.serve("deploy", str(path))
        wait_until(lambda: self.status()["pathray"]["status"] == "RUNNING", 240)

    def status(self) -> dict[str, Any]:
        """Applications as `serve status` tells them."""
        told: dict[str, Any] = yaml.safe_load(self.serve("status"))["applications"]
        return told

    def replicas(self) -> dict[str, set[str]]:
        """Ids of the running replicas, by deployment."""
        answer = requests.get(
            f"{self.head.url}/api/serve/applications/",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )
        deployments = answer.json()["applications"]["pathray"]["deployments"]
        return {
            name: {each["replica_id"] for each in found["replicas"] if each["state"] == "RUNNING"}
            for name, found in deployments.items()
        }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # A short folder: sockets lie in it.
    with (
        tempfile.TemporaryDirectory(prefix="ray") as folder,
        ray_head(Path(folder), cpus=2) as head,
    ):
        yield Cluster(head, tmp_path_factory.mktemp("deployed"))


def test_a_config_is_deployed_changed_under_load_and_taken_down(cluster: Cluster) -> None:
    first, second, port = new_key(), new_key(), free_port()
    config = config_of(cluster.folder, first, port)
    application = config["applications"][0]
    # An image would hold the code; here every process is told where it lies.
    code = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    application["runtime_env"] = {"env_vars": {"PYTHONPATH": code}}

    cluster.deploy(config)
    url = f"http://127.0.0.1:{port}"
    started = cluster.replicas()
    assert set(started) == {"Ingress", "Encoder", "SlidePredictor", "SlideWorker", "SlideSquares"}

    with load(embed, lambda: Client(url, first, attempts=12)) as told:
        wait_for_more(told, 10)

        keys = application["deployments"][0]["user_config"]["keys"]
        keys.append({"name": "second", "sha256": hash_key(second)})
        cluster.deploy(config)
        wait_until(lambda: is_let_in(url, second))
        assert cluster.replicas() == started
        wait_for_more(told, 10)

        application["args"]["encoder"]["batch_size"] = 7
        cluster.deploy(config)
        rolled = cluster.replicas()
        assert not [name for name in started if rolled[name] & started[name]]
        wait_for_more(told, 10)
    assert set(told) == {"answered"}, told

    cluster.serve("shutdown", "--yes")
    wait_until(lambda: not cluster.status(), 120)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/healthz", timeout=5)


def is_let_in(url: str, key: str) -> bool:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.get(f"{url}/v1/encoders", headers=headers, timeout=30).status_code == 200
