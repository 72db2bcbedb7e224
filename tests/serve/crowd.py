"""Users that ask without a pause while something happens to the service."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from pathray.client import Client, ServiceError
from pathray.encoders import load_encoder

Ask = Callable[[Client], None]


def tiles_of(n: int) -> np.ndarray:
    """Tiles of noise, the same for the same number."""
    return np.random.default_rng(n).integers(0, 256, (n, 224, 224, 3), np.uint8)


def embed(client: Client) -> None:
    """Embed tiles; the vectors are the library's."""
    tiles = tiles_of(4)
    np.testing.assert_array_equal(
        client.embed(tiles), load_encoder("mean_rgb")(tiles).astype(np.float16)
    )


@contextmanager
def load(ask: Ask, client: Callable[[], Client], users: int = 3) -> Iterator[Counter[str]]:
    """Users that ask one thing after another while the block runs; counts of what came."""
    told: Counter[str] = Counter()
    over = threading.Event()

    def user() -> None:
        with client() as asking:
            while not over.is_set():
                try:
                    ask(asking)
                    told["answered"] += 1
                except (ServiceError, AssertionError) as error:
                    told[f"lost {error}"] += 1
                time.sleep(0.02)

    with ThreadPoolExecutor(users) as threads:
        for _ in range(users):
            threads.submit(user)
        try:
            yield told
        finally:
            over.set()


def wait_for_more(told: Counter[str], count: int, seconds: float = 60) -> None:
    """Until so many more are answered."""
    goal, deadline = told["answered"] + count, time.monotonic() + seconds
    while told["answered"] < goal and time.monotonic() < deadline:
        time.sleep(0.1)
    assert told["answered"] >= goal, told
