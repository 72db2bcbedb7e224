"""Running a `pathray` command from start to end, and reading its own summary."""

import re
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.benchmarks.process import (
    LIMIT_SECONDS,
    REPOSITORY,
    CannotRunError,
    environment,
    last_line,
)


@dataclass(frozen=True)
class Run:
    """`seconds` are of the whole command, Ray's start included; `stages` busy seconds each."""

    seconds: float
    tiles: int
    stages: dict[str, float]

    @property
    def rate(self) -> float:
        return self.tiles / self.seconds


def pathray(*arguments: object) -> Run:
    """Run `pathray …` on a Ray of its own. Raises CannotRunError where it fails."""
    command = [sys.executable, "-m", "jobs", *map(str, arguments)]
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    seconds = time.perf_counter() - start
    tiles = re.search(r"^  tiles +([\d,]+)", done.stdout, re.MULTILINE)
    if done.returncode or not tiles:
        raise CannotRunError(f"pathray {arguments[0]}: {last_line(done.stderr + done.stdout)}")
    stages = re.findall(r"^  (\w+) +([\d,.]+) s of work", done.stdout, re.MULTILINE)
    return Run(seconds, _count(tiles[1]), {name: float(_plain(busy)) for name, busy in stages})


def _plain(text: str) -> str:
    return text.replace(",", "")


def _count(text: str) -> int:
    return int(_plain(text))
