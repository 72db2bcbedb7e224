"""`pathray submit` against a real Ray head with its dashboard and a token."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pyarrow.parquet as pq
import pytest
from commands import wait_for
from ray_head import Head, ray_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with tempfile.TemporaryDirectory(prefix="ray") as folder, ray_head(Path(folder)) as head:
        yield head


def start(head: Head, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    """`pathray submit …`, as on a laptop that has the token."""
    paths = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", "submit", *map(str, arguments)],
        env=head.environment | {"PYTHONPATH": paths} | variables,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def tile(slides: Path, out: Path) -> list[object]:
    return ["--", "--slides", slides, "--out", out, "--mpp", "0.5"]


def test_a_job_runs_on_the_cluster_with_this_code_and_its_log_is_followed(
    head: Head, slides: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, log, told = finish(
        start(head, "tile", "--address", head.url, "--env", "SECRET_OF_MINE", *tile(slides, out),
              SECRET_OF_MINE="never-in-a-log")
    )  # fmt: skip
    assert code == 0, log + told
    assert "2 slides: 2 done" in log
    assert told.startswith("pathray: submitted pathray-tile-")
    rows = pq.read_table(out / "_index.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["done", "done"]
    logs = [path for path in head.logs.rglob("*") if path.is_file()]
    assert len(logs) > 5
    assert not [path for path in logs if b"never-in-a-log" in path.read_bytes()]


def test_the_same_command_again_is_a_new_run_that_resumes(
    head: Head, slides: Path, tmp_path: Path
) -> None:
    command = ["tile", "--address", head.url, *tile(slides, tmp_path / "out")]
    assert finish(start(head, *command))[0] == 0
    code, log, told = finish(start(head, *command))
    assert code == 0
    assert "2 of them before this run" in log
    assert told.strip().endswith("-2")


def test_the_exit_code_is_the_jobs(head: Head, slides: Path, tmp_path: Path) -> None:
    (slides / "broken.tif").write_bytes(b"no slide")
    address = ("--address", head.url)
    code, log, _ = finish(start(head, "tile", *address, *tile(slides, tmp_path / "out")))
    assert code == 1
    assert "failed  broken" in log
    code, log, _ = finish(start(head, "tile", *address, *tile(tmp_path / "gone", tmp_path / "o")))
    assert code == 2
    assert "pathray: " in log


def test_an_interrupt_detaches_and_the_same_command_comes_back(
    head: Head, slides: Path, tmp_path: Path
) -> None:
    command = ["tile", "--address", head.url, *tile(slides, tmp_path / "out")]
    first = start(head, *command)
    wait_for(lambda: any((tmp_path / "out").glob("_settings.json")), first, seconds=120)
    first.send_signal(signal.SIGINT)
    code, _, told = finish(first)
    assert code == 130
    assert "detached" in told
    assert "ray job stop" in told
    code, log, told = finish(start(head, *command))
    assert code == 0, log + told
    assert "is there already" in told
    assert "2 slides: 2 done" in log


def test_a_detached_job_is_followed_by_its_identifier(
    head: Head, slides: Path, tmp_path: Path
) -> None:
    command = ["tile", "--address", head.url, "--submission-id", "mine"]
    code, out, _ = finish(start(head, *command, "--detach", *tile(slides, tmp_path / "out")))
    assert (code, out) == (0, "mine\n")
    code, log, told = finish(start(head, *command, *tile(slides, tmp_path / "out")))
    assert code == 0, log + told
    assert "2 slides: 2 done" in log
    assert "mine is there already" in told


def test_a_broken_connection_is_taken_up_again_and_no_line_is_told_twice(
    head: Head, slides: Path, tmp_path: Path
) -> None:
    with Way(int(head.url.rsplit(":", 1)[1])) as way:
        job = start(head, "tile", "--address", way.url, *tile(slides, tmp_path / "out"))
        assert job.stdout
        first = [job.stdout.readline() for _ in range(2)]
        assert "Running entrypoint" in "".join(first)
        way.breaks()
        code, rest, told = finish(job)
    assert code == 0, rest + told
    log = "".join(first) + rest
    assert log.count("Running entrypoint") == log.count("2 slides: 2 done") == 1
    assert "the dashboard is away; trying again" in told


class Way:
    """What lies between a laptop and the dashboard, as a port-forward, and can break."""

    def __init__(self, port: int) -> None:
        self._port, self._open = port, list[socket.socket]()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        self.breaks()

    def breaks(self) -> None:
        """Every connection that is open ends."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.create_connection(("127.0.0.1", self._port))
                self._open += [here, there]
                for a, b in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=(a, b), daemon=True).start()

    @staticmethod
    def _carry(a: socket.socket, b: socket.socket) -> None:
        with suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
        with suppress(OSError):
            b.shutdown(socket.SHUT_RDWR)


def test_a_wrong_token_is_told_in_one_line(head: Head, tmp_path: Path) -> None:
    code, out, told = finish(
        start(head, "tile", "--address", head.url, *tile(tmp_path, tmp_path / "out"),
              RAY_AUTH_TOKEN="another-token-0123456789abcdefghijkl")
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert told.startswith("pathray: cannot use the Ray dashboard")
    assert told.count("\n") == 1
    assert "RAY_AUTH_TOKEN" in told
