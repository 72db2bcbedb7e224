"""Jobs as processes of their own, which a test can kill."""

import os
import subprocess
import sys
import time
from collections.abc import Callable


def start(job: str, *flags: object, address: str | None = None) -> subprocess.Popen[str]:
    """`pathray JOB …` on a Ray of its own, or on the cluster at `address`."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    if address:
        environment["RAY_ADDRESS"] = address
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", job, *map(str, flags)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What the job printed, once it has ended well."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    return out, err


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 300
) -> None:
    """Until the condition holds, while the job still runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
