"""A Ray that does not come up is one line, with what to look at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"RAY_TMPDIR": "/dev/null/ray"}, "Ray does not start on this machine"),
        ({"RAY_ADDRESS": "127.0.0.1:1"}, "cannot reach the Ray cluster 127.0.0.1:1"),
    ],
)
def test_it_is_said_in_one_line(tmp_path: Path, variables: dict[str, str], told: str) -> None:
    (tmp_path / "a.svs").touch()
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "tile", "--slides", tmp_path, "--out", tmp_path / "out"],
        env=environment | variables,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
