"""`pathray serve --haproxy`: what clients see behind HAProxy is what they see without it."""

import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from crowd import embed, load, tiles_of, wait_for_more
from process import Running, serving
from serving import free_port, write_slide
from small_service import config_of

from jobs.serve import HAPROXY
from pathray.encoders import load_encoder
from serve.keys import new_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HEADER_SECONDS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("haproxy")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    key = new_key()
    config = config_of(folder, key, free_port(), limits={"concurrent_requests": 8})
    variables = {"RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(HEADER_SECONDS)}
    with serving(config, folder, key, "--haproxy", **variables) as running:
        yield running


def post(running: Running, n: int) -> requests.Response:
    headers = {
        "Authorization": f"Bearer {running.key}",
        "Content-Type": "application/octet-stream",
    }
    query = f"{running.url}/v1/embed?shape={n},224,224,3"
    return requests.post(query, data=tiles_of(n).tobytes(), headers=headers, timeout=60)


def named(running: Running, name: str) -> psutil.Process:
    """The service's process of that title."""
    family = psutil.Process(running.process.pid).children(recursive=True)
    found = []
    for each in family:
        with suppress(psutil.NoSuchProcess):
            found += [each for word in each.cmdline()[:1] if word.endswith(name)]
    return found[0]


def test_haproxy_is_what_listens(running: Running) -> None:
    port = int(running.url.rpartition(":")[2])
    open_ports = {each.laddr.port for each in named(running, "haproxy").net_connections()}
    assert port in open_ports


def test_tiles_and_slides_are_answered_as_ever(running: Running, folder: Path) -> None:
    slide = write_slide(folder / "slides" / "one.tif")
    tiles = tiles_of(256)[:200]  # 30 MB
    with running.client(attempts=1) as client:
        expected = load_encoder("mean_rgb")(tiles).astype(np.float16)
        np.testing.assert_array_equal(client.embed(tiles), expected)
        id = client.predict_slide(str(slide), "subtype")["id"]
        assert client.wait(id, seconds=120)["status"] == "done"
        assert client.heatmap(id).startswith(b"\x89PNG")


def test_problems_pass_as_they_are(running: Running) -> None:
    stranger = requests.get(f"{running.url}/v1/models", timeout=30)
    assert stranger.status_code == 401
    assert stranger.headers["WWW-Authenticate"] == "Bearer"
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda _: post(running, 64), range(64)))
    told = Counter((each.status_code, each.headers.get("Retry-After")) for each in answers)
    assert set(told) == {(200, None), (503, "2")}, told
    away = next(each for each in answers if each.status_code == 503)
    assert away.json()["title"] == "Service Unavailable"


def test_headers_that_never_end_are_ended(running: Running) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n")
        asked = time.monotonic()
        while slow.recv(1000):
            pass
        assert time.monotonic() - asked < 10 * HEADER_SECONDS


def test_a_killed_ingress_loses_none_that_the_client_asks_again(running: Running) -> None:
    with load(embed, lambda: running.client(attempts=12)) as told:
        wait_for_more(told, 10)
        named(running, "pathray:Ingress").kill()
        wait_for_more(told, 30)
    assert set(told) == {"answered"}, told


def test_a_request_under_way_is_finished_when_it_is_told_to_stop(running: Running) -> None:
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(post, running, 200)
        time.sleep(0.15)
        running.process.send_signal(signal.SIGTERM)
        assert answer.result().status_code == 200
    assert running.process.wait(60) == 0


def test_the_variables_are_those_that_ray_reads() -> None:
    from ray.serve._private import constants

    source = Path(constants.__file__).read_text()
    assert not [name for name in HAPROXY if f'"{name}"' not in source]
