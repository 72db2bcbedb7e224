"""The client asks again when that may help, and only then."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pathray import client as module
from pathray.client import Client, ServiceError


class Scripted:
    """A web server that answers one script line a request and notes what was asked."""

    def __init__(self) -> None:
        self.script: list[tuple[int, dict[str, str], Any]] = []
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get("Authorization")))
                status, headers, content = outer.script.pop(0)
                if status == 0:
                    self.close_connection = True
                    return
                body = json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    threading.Thread(target=server.server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    return slept


MODELS: dict[str, Any] = {"models": [{"name": "a"}]}


def test_a_busy_or_broken_service_is_asked_again(scripted: Scripted, pauses: list[float]) -> None:
    scripted.script = [
        (503, {"Retry-After": "7"}, {}), (500, {}, {}), (0, {}, None), (200, {}, MODELS),
    ]  # fmt: skip
    with Client(scripted.url, "secret") as client:
        assert client.models() == [{"name": "a"}]
    assert len(scripted.asked) == 4
    assert {key for _, key in scripted.asked} == {"Bearer secret"}
    assert pauses[0] == 7
    assert all(pause < 2 for pause in pauses[1:])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refusal_is_told_at_once(scripted: Scripted, pauses: list[float], status: int) -> None:
    scripted.script = [(status, {}, {"title": "No", "detail": "not that"})]
    with pytest.raises(ServiceError, match=f"{status}: not that") as refused:
        Client(scripted.url).models()
    assert refused.value.status == status
    assert not pauses


def test_patience_ends(scripted: Scripted, pauses: list[float]) -> None:
    scripted.script = [(503, {}, {"detail": "busy"})] * 3
    with pytest.raises(ServiceError, match="busy"):
        Client(scripted.url, attempts=3).models()
    assert len(pauses) == 2


def test_a_key_does_not_follow_a_redirect(scripted: Scripted, pauses: list[float]) -> None:
    scripted.script = [(302, {"Location": "http://127.0.0.1:1/"}, {}), (200, {}, MODELS)]
    with pytest.raises(ServiceError):
        Client(scripted.url, "secret").models()
    assert len(scripted.asked) == 1


def test_nobody_there_is_a_service_error(pauses: list[float]) -> None:
    with pytest.raises(ServiceError, match="no answer"):
        Client("http://127.0.0.1:9", attempts=2).models()
    assert not Client("http://127.0.0.1:9").ready()


def test_waiting_tells_the_way_and_raises_a_failure(
    scripted: Scripted, pauses: list[float]
) -> None:
    running = {"status": "running", "progress": {"tiles_done": 3}}
    scripted.script = [(200, {}, running), (200, {}, {"status": "failed", "error": "no tissue"})]
    seen: list[Any] = []
    with pytest.raises(ServiceError, match="no tissue"):
        Client(scripted.url).wait("x", progress=seen.append)
    assert [record["status"] for record in seen] == ["running", "failed"]
