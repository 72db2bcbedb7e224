"""Section `serve`: the endpoint under rising load, against the bare encoder on the same cores."""

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import requests
import yaml

from pathray.client import Client
from pathray.encoders import Encoder, load_encoder
from serve.keys import hash_key, new_key
from tests.benchmarks.document import Table, at_least, number
from tests.benchmarks.options import Options
from tests.benchmarks.process import REPOSITORY, CannotRunError, environment

ENCODER = "timm/vit_small_patch16_224"
BATCH = 8
TILES = 16
"""Tiles of a request, as one raw array."""
USERS = (1, 4, 16)
LIMIT = 16
"""`concurrent_requests` of the service."""
SECONDS = 8.0
ROUNDS = 12
START_SECONDS = 300
FRONTS = {"default proxy": (), "HAProxy": ("--haproxy",)}
NO_NETWORK = "mean_rgb"
"""An encoder whose pass costs nothing: what is left is the way there and back."""


def section(options: Options) -> list[Table]:
    """A table for throughput, one for latency, one for overload."""
    loads, alone, crowd, verdicts, waits = [], [], [], [], []
    encoder = load_encoder(ENCODER, random_init=True)
    for front, flags in FRONTS.items():
        with _service(options.scratch, flags, ENCODER) as (url, key):
            rates = [_beside_bare(encoder, url, key, users) for users in USERS]
            latency = _added_latency(encoder, url, key)
            turned = _overload(url, key)
        with _service(options.scratch, flags, NO_NETWORK) as (url, key):
            way = _added_latency(load_encoder(NO_NETWORK), url, key)
        loads += [
            [front, str(users), number(rate), number(bare), f"{rate / bare:.2f}×"]
            for users, (rate, bare) in zip(USERS, rates, strict=True)
        ]
        for name, times in ((NO_NETWORK, way), (ENCODER, latency)):
            alone.append([front, f"`{name}`", *(f"{value:.1f} ms" for value in times)])
            waits.append(f"`{name}` behind {front}: **{times[2]:.1f} ms** added; aim 10 ms.")
        crowd.append([front, *turned])
        rate, bare = rates[-1]
        verdicts.append(at_least(f"{USERS[-1]} users behind {front}", rate / bare, 0.9))
    setting = (
        f"`{ENCODER}`, {encoder.precision}, batches of {BATCH}, {TILES} tiles a request; bare is "
        f"the encoder alone on the same cores with batches of {BATCH} or {TILES}, whichever is "
        "faster, measured before and after each."
    )
    return [
        Table(
            "Serving: load", setting, ("", "users", "tiles/s", "bare", "of bare"), loads, verdicts
        ),
        Table(
            "Serving: one tile, one user",
            f"Medians of {ROUNDS * 10} requests and of as many bare calls, ten of each in turn. "
            f"`{NO_NETWORK}` computes next to nothing, so its row is the way there and back; the "
            "network takes all cores, which the way then shares with it.",
            ("", "encoder", "served", "bare", "added"),
            alone,
            waits,
        ),
        Table(
            "Serving: four times too many",
            f"{4 * LIMIT} users without patience, {LIMIT} requests taken on at once.",
            ("", "tiles/s", "turned away", "median wait to 503", "p95 of answers"),
            crowd,
            ["The queue does not grow: what is too much is told so at once."],
        ),
    ]


def _beside_bare(encoder: Encoder, url: str, key: str, users: int) -> tuple[float, float]:
    """Tiles a second served, and by the bare encoder before and after."""
    before = _bare_rate(encoder)
    served = _rate(url, key, users)
    return served, statistics.mean([before, _bare_rate(encoder)])


def _bare_rate(encoder: Encoder) -> float:
    return max(_bare_rate_of(encoder, size) for size in (TILES, BATCH))


def _bare_rate_of(encoder: Encoder, size: int) -> float:
    tiles = _tiles(size)
    encoder(tiles)
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS / 2:
        encoder(tiles)
        done += size
    return done / (time.perf_counter() - started)


def _rate(url: str, key: str, users: int) -> float:
    """Tiles a second of so many users, each with one request after another."""
    tiles = _tiles(TILES)
    started = time.perf_counter()

    def user(_: int) -> int:
        done = 0
        with Client(url, key) as client:
            while time.perf_counter() - started < SECONDS:
                done += len(client.embed(tiles))
        return done

    with ThreadPoolExecutor(users) as threads:
        done = sum(threads.map(user, range(users)))
    return done / (time.perf_counter() - started)


def _added_latency(encoder: Encoder, url: str, key: str) -> tuple[float, float, float]:
    """Milliseconds of a served tile, of a bare one, and their difference."""
    tile = _tiles(1)
    served, bare = [], []
    with Client(url, key) as client:
        for _ in range(ROUNDS):
            served += _times(lambda: client.embed(tile))
            bare += _times(lambda: encoder(tile))
    with_it, without = statistics.median(served), statistics.median(bare)
    return with_it, without, with_it - without


def _times(call: Callable[[], object]) -> list[float]:
    """Milliseconds of ten calls. Threads of the other side's last one may still spin: the
    first two are not counted."""
    times = []
    for _ in range(12):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    return times[2:]


def _overload(url: str, key: str) -> list[str]:
    body, users = _tiles(TILES).tobytes(), 4 * LIMIT
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/octet-stream"}
    query = f"{url}/v1/embed?shape={TILES},224,224,3"
    started = time.perf_counter()

    def user(_: int) -> list[tuple[int, float]]:
        told = []
        with requests.Session() as session:
            while time.perf_counter() - started < SECONDS:
                asked = time.perf_counter()
                status = session.post(query, data=body, headers=headers).status_code
                told.append((status, time.perf_counter() - asked))
                if status == 503:
                    time.sleep(0.5)
        return told

    with ThreadPoolExecutor(users) as threads:
        told = [each for answers in threads.map(user, range(users)) for each in answers]
    seconds = time.perf_counter() - started
    waits = {status: sorted(w for s, w in told if s == status) for status in {s for s, _ in told}}
    good, away = waits.get(200, []), waits.get(503, [])
    if set(waits) - {200, 503} or not good or not away:
        raise CannotRunError(f"unexpected answers: { {s: len(w) for s, w in waits.items()} }")
    return [
        number(len(good) * TILES / seconds),
        f"{len(away) / len(told):.0%}",
        f"{statistics.median(away) * 1000:.0f} ms",
        f"{good[int(len(good) * 0.95)]:.2f} s",
    ]


@contextmanager
def _service(scratch: Path, flags: tuple[str, ...], encoder: str) -> Iterator[tuple[str, str]]:
    """`pathray serve` in a process of its own; its address and a key."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = new_key()
    config = scratch / "serve.yaml"
    config.write_text(yaml.safe_dump(_config(port, key, encoder)))
    command = [sys.executable, "-m", "jobs", "serve", "--config", str(config), *flags]
    log = (scratch / "serve.log").open("w")
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment({"RAY_AUTH_MODE": "disabled"}),
        stdout=log,
        stderr=log,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        client, deadline = Client(url, key, timeout=10), time.monotonic() + START_SECONDS
        while not client.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotRunError((scratch / "serve.log").read_text()[-300:])
            time.sleep(0.5)
        yield url, key
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def _config(port: int, key: str, name: str) -> dict[str, object]:
    encoder = {"name": name, "random_init": name != NO_NETWORK, "batch_size": BATCH}
    return {
        "http_options": {"host": "127.0.0.1", "port": port},
        "logging_config": {"enable_access_log": False},
        "applications": [
            {
                "name": "pathray",
                "import_path": "serve.app:build",
                "args": {
                    "encoder": encoder | {"threads": os.cpu_count()},
                    "limits": {"concurrent_requests": LIMIT},
                },
                "deployments": [
                    {
                        "name": "Ingress",
                        "user_config": {"keys": [{"name": "bench", "sha256": hash_key(key)}]},
                    }
                ],
            }
        ],
    }


def _tiles(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), np.uint8)
