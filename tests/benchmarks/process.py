"""Running what is timed in a process of its own, on chosen cores."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
WORKERS = "tests.benchmarks.workers."
LIMIT_SECONDS = 900


class CannotRunError(Exception):
    """A tool that is not there or failed; the reason in one line."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, with this checkout's packages first, and no Ray cluster."""
    variables = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    paths = [str(REPOSITORY / "platform"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return variables | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | dict(extra or {})


def worker(name: str, *arguments: object, one_core: bool = False, **variables: str) -> Any:
    """What a module of `workers` reports of itself."""
    command = [sys.executable, "-m", WORKERS + name, *map(str, arguments)]
    return report(command, one_core, environment(variables))


def report(command: Sequence[str], one_core: bool, variables: Mapping[str, str]) -> Any:
    """The JSON of a command's last line. Raises CannotRunError with its last words."""
    core = min(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} if one_core else {}
    done = subprocess.run(
        command,
        env={**variables, **threads},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if one_core else None,
    )
    if done.returncode:
        raise CannotRunError(last_line(done.stderr))
    return json.loads(done.stdout.strip().splitlines()[-1])


def last_line(text: str) -> str:
    """What a process said last, without the folders of this machine."""
    lines = text.strip().splitlines()
    return re.sub(r"/\S*/", "", lines[-1].strip()) if lines else "no message"
