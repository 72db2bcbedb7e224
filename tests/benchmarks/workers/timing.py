"""Timing inside a worker, and its report."""

import json
import time
from collections.abc import Callable
from pathlib import Path


def best(
    call: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of the fastest of `rounds` calls: the one that was disturbed least."""
    seconds = []
    for _ in range(rounds):
        start = clock()
        call()
        seconds.append(clock() - start)
    return min(seconds)


def peak_memory() -> int:
    """Most bytes this process had in memory; not by getrusage, which counts its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def tell(**values: object) -> None:
    """The worker's report: one line of JSON."""
    print(json.dumps(values))
