"""A Ray head of a test's own, with its dashboard and a token, as a cluster has it."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

TOKEN = "a-token-of-the-tests-0123456789abcdef"


@dataclass(frozen=True)
class Head:
    """Its dashboard's URL, its metrics' URL, its address for nodes, and where it keeps its logs."""

    url: str
    metrics: str
    gcs: str
    logs: Path
    environment: dict[str, str]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, none twice."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def ray_head(
    folder: Path, cpus: int = 1, variables: Mapping[str, str] | None = None
) -> Iterator[Head]:
    """Starts `ray start --head` and ends it. Keep `folder` short: sockets lie in it."""
    gcs, dashboard, agent, grpc, runtime, metrics, node, objects, client = free_ports(9)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "AWS_"))} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    environment |= variables or {}
    # The cluster has nothing of this checkout: what runs there was sent.
    environment.pop("PYTHONPATH", None)
    ports = {
        "port": gcs, "dashboard-port": dashboard, "dashboard-agent-listen-port": agent,
        "dashboard-agent-grpc-port": grpc, "runtime-env-agent-port": runtime,
        "metrics-export-port": metrics, "node-manager-port": node,
        "object-manager-port": objects, "ray-client-server-port": client,
        "min-worker-port": 0, "max-worker-port": 0,
    }  # fmt: skip
    process = subprocess.Popen(
        ["ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1",
         f"--num-cpus={cpus}", "--object-store-memory=150000000", f"--temp-dir={folder}",
         *(f"--{name}={port}" for name, port in ports.items())],
        env=environment, cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{dashboard}"
        _wait_for(f"{url}/api/version", process)
        yield Head(
            url,
            f"http://127.0.0.1:{metrics}/metrics",
            f"127.0.0.1:{gcs}",
            folder / "session_latest" / "logs",
            environment,
        )
    finally:
        _end(process)


@contextmanager
def ray_worker(head: Head, cpus: int = 1) -> Iterator[None]:
    """A node that joins the head."""
    agent, grpc, runtime, metrics, node, objects = free_ports(6)
    ports = {
        "dashboard-agent-listen-port": agent, "dashboard-agent-grpc-port": grpc,
        "runtime-env-agent-port": runtime, "metrics-export-port": metrics,
        "node-manager-port": node, "object-manager-port": objects,
        "min-worker-port": 0, "max-worker-port": 0,
    }  # fmt: skip
    process = subprocess.Popen(
        ["ray", "start", f"--address={head.gcs}", "--block", "--node-ip-address=127.0.0.1",
         f"--num-cpus={cpus}", "--object-store-memory=150000000",
         *(f"--{name}={port}" for name, port in ports.items())],
        env=head.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        _end(process)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    deadline = time.monotonic() + 90
    while True:
        assert process.poll() is None, "the Ray head ended"
        assert time.monotonic() < deadline, "the Ray head does not answer"
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            time.sleep(0.5)


def _end(head: subprocess.Popen[bytes]) -> None:
    """Ends this head's processes, and no other's."""
    family = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    head.wait(30)
    psutil.wait_procs(family, timeout=30)
