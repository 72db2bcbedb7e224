"""Two real S3 servers on free loopback ports, and one bucket of either as a test sees it."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pyarrow.fs
from botocore.config import Config

ACCESS, SECRET, REGION = "pathray-tests", "pathray-tests-secret", "us-east-1"


@dataclass(frozen=True)
class Server:
    """A running S3 server; `log` holds one line a request where the server writes them."""

    name: str
    endpoint: str
    log: Path

    def environment(self) -> dict[str, str]:
        """What a user sets to work with this store."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            # S3 servers other than Amazon's do not all know its newer checksums.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def client(self) -> Any:
        """A client that shares nothing with the code under test."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            region_name=REGION,
            config=Config(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"max_attempts": 2},
            ),
        )

    def filesystem(self) -> pyarrow.fs.S3FileSystem:
        """The store as plain pyarrow sees it."""
        return pyarrow.fs.S3FileSystem(
            endpoint_override=self.endpoint.removeprefix("http://"),
            scheme="http",
            access_key=ACCESS,
            secret_key=SECRET,
            region=REGION,
        )


@dataclass(frozen=True)
class Bucket:
    """One bucket of a server, of one test's own."""

    server: Server
    name: str
    client: Any

    def uri(self, key: str = "") -> str:
        return f"s3://{self.name}/{key}"

    def put(self, key: str, content: bytes | Path) -> None:
        body = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def objects(self, prefix: str = "") -> dict[str, tuple[str, Any]]:
        """(ETag, LastModified) by key of everything below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        found = [entry for page in pages for entry in page.get("Contents", [])]
        return {entry["Key"]: (entry["ETag"], entry["LastModified"]) for entry in found}

    def shards(self, prefix: str) -> dict[str, tuple[str, Any]]:
        """The objects of slides below an output prefix: no status, settings or index."""
        return {
            key: version
            for key, version in self.objects(prefix).items()
            if not key.removeprefix(prefix).startswith("_")
        }

    def fetches(self, key: str, whole: bool = False) -> int:
        """How often moto was asked for bytes of an object, or for all of them at once."""
        assert self.server.name == "moto"
        log = re.sub("\x1b\\[[0-9]*m", "", self.server.log.read_text())
        asked = f'"GET /{self.name}/{key} HTTP/1.1" '
        return log.count(asked + ("200" if whole else "20"))


@contextmanager
def running(name: str, command: list[str], log: Path, port: int) -> Iterator[Server]:
    """A server process for the length of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            _wait_for(port, process, log)
            yield Server(name, f"http://127.0.0.1:{port}", log)
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def moto(folder: Path) -> Iterator[Server]:
    """moto's server: the whole of S3's semantics; keys are not checked."""
    port = free_port()
    command = [program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with running("moto", command, folder / "requests.log", port) as server:
        yield server


@contextmanager
def rclone(folder: Path) -> Iterator[Server]:
    """`rclone serve s3` over a folder: keys are checked."""
    port, root = free_port(), folder / "buckets"
    root.mkdir()
    command = [program("rclone"), "serve", "s3", str(root), f"--addr=127.0.0.1:{port}"]
    # Without --config it would look for a configuration of the user's own.
    command += [f"--auth-key={ACCESS},{SECRET}", "--config", os.devnull]
    with running("rclone", command, folder / "server.log", port) as server:
        yield server


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """A command that a Python package installs, found beside the interpreter or on PATH."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    found = found or shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: pip install 'pathray[dev]'")
    return found


def set_environment(monkeypatch: Any, variables: Mapping[str, str]) -> None:
    """Make these the only AWS settings of the process."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    forget_connections()


def forget_connections() -> None:
    """fsspec's open file systems keep the endpoint and keys that they were opened with."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
