"""Fixtures of the unit tests."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """The folder that `server` serves."""
    folder = tmp_path / "web"
    folder.mkdir()
    return folder


@pytest.fixture
def server(web: Path) -> Iterator[str]:
    """The address of a plain web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(web))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
