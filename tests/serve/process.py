"""`pathray serve` as a process of its own, with a Ray of its own, that can be made to crash."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from serving import wait_until

from pathray.client import Client


def start(
    config: dict[str, Any], folder: Path, *flags: str, **variables: str
) -> "subprocess.Popen[str]":
    """The command with a config file in a folder. `variables` win over this environment's."""
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", "serve", "--config", str(path), *flags],
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Running:
    """A running service."""

    url: str
    key: str
    process: "subprocess.Popen[str]"

    def client(self, **more: Any) -> Client:
        return Client(self.url, self.key, **more)

    def crash(self) -> None:
        """Its processes, Ray's among them, are gone at once."""
        me = psutil.Process(self.process.pid)
        family = [me, *me.children(recursive=True)]
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=30)


@contextmanager
def serving(
    config: dict[str, Any], folder: Path, key: str, *flags: str, **variables: str
) -> Iterator[Running]:
    """The service, ready, for the length of the block."""
    process = start(config, folder, *flags, **variables)
    try:
        assert process.stdout is not None
        assert "serving on" in process.stdout.readline(), process.communicate(timeout=60)
        running = Running(f"http://127.0.0.1:{config['http_options']['port']}", key, process)
        with running.client() as client:
            wait_until(client.ready, 60)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
