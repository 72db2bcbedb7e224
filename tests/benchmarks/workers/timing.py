"""Timing inside a worker, and its report."""

import json
import time
from collections.abc import Callable


def best(call: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of `rounds` calls: the one that was disturbed least."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def tell(**values: object) -> None:
    """The worker's report: one line of JSON."""
    print(json.dumps(values))
