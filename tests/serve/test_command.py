"""`pathray serve` as one starts it: who may come in, and how it ends."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from process import start
from serving import free_port

pytestmark = pytest.mark.slow


def config_on(host: str, port: int) -> dict[str, Any]:
    return {
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": "pathray",
                "import_path": "serve.app:build",
                "args": {"encoder": {"name": "mean_rgb"}},
            }
        ],
    }


@pytest.mark.parametrize(
    ("host", "variables"),
    [("0.0.0.0", {}), ("127.0.0.1", {"RAY_SERVE_ENABLE_HA_PROXY": "1"})],
)
def test_without_keys_it_does_not_listen_to_the_world(
    tmp_path: Path, host: str, variables: dict[str, str]
) -> None:
    process = start(config_on(host, free_port()), tmp_path, **variables)
    _, told = process.communicate(timeout=240)
    assert process.returncode == 2, told
    assert "configure `keys`" in told.splitlines()[-1]


def test_on_loopback_it_serves_without_keys_and_ends_when_told(tmp_path: Path) -> None:
    port = free_port()
    process = start(config_on("127.0.0.1", port), tmp_path)
    try:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        deadline = time.monotonic() + 60
        while requests.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        stranger = requests.get(
            f"http://127.0.0.1:{port}/v1/models", headers={"Host": "evil.org"}, timeout=30
        )
        assert stranger.status_code == 403
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
