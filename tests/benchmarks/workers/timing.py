"""Timing inside a worker, and its report."""

import json
import time
from collections.abc import Callable


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


def tell(**values: object) -> None:
    """The worker's report: one line of JSON."""
    print(json.dumps(values))
