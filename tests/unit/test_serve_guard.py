"""Who is let in, how much, and what an error says."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from serving import application_of, browser, settings_in
from starlette.testclient import TestClient

from serve import problem
from serve.guard import Guard
from serve.keys import hash_key, holder, is_loopback, new_key
from serve.settings import Access, Key, Limits

ALICE, BOB = new_key(), new_key()
SECRET = "TCGA-XX-1234 in /secret/path"
KEYS = (Key(name="alice", sha256=hash_key(ALICE)), Key(name="bob", sha256=hash_key(BOB)))


def guarded(keys: tuple[Key, ...] = (), **limits: Any) -> FastAPI:
    """A small application behind the guard: echoes sizes, sleeps, fails."""
    app = FastAPI()

    @app.post("/v1/embed")
    async def embed(request: Request, seconds: float = 0) -> dict[str, int]:
        body = await request.body()
        await asyncio.sleep(seconds)
        return {"bytes": len(body)}

    @app.get("/v1/fails")
    async def fails() -> None:
        raise RuntimeError(SECRET)

    @app.get("/healthz")
    async def healthz() -> str:
        return "ok"

    problem.install(app)
    app.add_middleware(Guard, limits=Limits(**limits), keys=lambda: keys)
    return app


def client_of(app: FastAPI, url: str = "http://127.0.0.1:8000") -> TestClient:
    return TestClient(app, url, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("", 401),
        (f"Bearer {ALICE}", 200),
        (f"bearer {BOB}", 200),
        (ALICE, 401),
        (f"Basic {ALICE}", 401),
        (f"Bearer {ALICE}x", 401),
        (f"Bearer {hash_key(ALICE)}", 401),
        ("Bearer ", 401),
        ("Bearer \u00ff", 401),
    ],
)
def test_only_keys_of_the_configuration_are_let_in(authorization: str | None, status: int) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    answer = client_of(guarded(KEYS)).post("/v1/embed", content=b"abc", headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_revoked_key_is_out_and_the_others_stay() -> None:
    assert holder(f"Bearer {ALICE}", KEYS[1:]) is None
    assert holder(f"Bearer {BOB}", KEYS[1:]) == "bob"


def test_health_needs_no_key() -> None:
    assert client_of(guarded(KEYS)).get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.0.0.1.evil.org"}, 403),
        ({"Host": "evil.org"}, 403),
        ({"Host": "localhost", "Origin": "http://evil.org"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost:8000"}, 200),
    ],
)
def test_without_keys_pages_of_other_sites_cannot_ask(headers: dict[str, str], status: int) -> None:
    answer = client_of(guarded()).post("/v1/embed", content=b"", headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("localhost.evil.org", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_body_is_counted_while_it_comes_and_not_only_announced() -> None:
    client = client_of(guarded(body_mb=0.001))
    assert client.post("/v1/embed", content=b"x" * 1000).json() == {"bytes": 1000}
    assert client.post("/v1/embed", content=b"x" * 1001).status_code == 413
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(100_000):
            taken += 100
            yield b"x" * 100

    assert client.post("/v1/embed", content=endless()).status_code == 413


async def ask(app: FastAPI, body: list[bytes], query: bytes = b"") -> int | None:
    """One request by hand, whose body stops coming when `body` is used up."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if body:
            return {"type": "http.request", "body": body.pop(0), "more_body": True}
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/embed", "query_string": query,
        "headers": [(b"host", b"localhost")], "root_path": "", "http_version": "1.1",
        "scheme": "http", "server": ("localhost", 80), "client": ("localhost", 1),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"] if sent else None


def test_a_body_that_stops_coming_ends_with_the_time_limit() -> None:
    assert asyncio.run(ask(guarded(seconds=0.2), [b"part"])) == 408


def test_slow_work_ends_with_the_time_limit() -> None:
    answer = client_of(guarded(seconds=0.2)).post("/v1/embed?seconds=30", content=b"")
    assert answer.status_code == 504


def test_what_is_too_much_is_turned_away_at_once_and_room_comes_back() -> None:
    app = guarded(concurrent_requests=2, seconds=5)

    async def crowd() -> list[int | None]:
        slow = [asyncio.create_task(ask(app, [b""])) for _ in range(2)]
        await asyncio.sleep(0.2)
        third = await asyncio.wait_for(ask(app, [b""]), 1)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return [third]

    assert asyncio.run(crowd()) == [503]
    answer = client_of(app).post("/v1/embed", content=b"")
    assert answer.status_code == 200


def test_an_error_tells_neither_the_client_nor_the_log_what_it_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        answer = client_of(guarded()).get("/v1/fails")
    assert answer.status_code == 500
    assert answer.json()["title"] == "Internal Server Error"
    assert "TCGA" not in answer.text + caplog.text
    assert "secret" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_a_request_is_one_line_of_the_log_whatever_its_path_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "ray.serve.pathray"):
        client_of(guarded()).get("/v1/x%0d%0aINFO%20GET%20/v1/forged%1b[31m" + "a" * 5000)
    (record,) = caplog.records
    assert record.getMessage().startswith("GET /v1/x%0D%0AINFO%20GET%20/v1/forged%1B%5B31maaa")
    assert len(record.getMessage()) < 300


def test_the_whole_api_wants_a_key(tmp_path: Path) -> None:
    application = application_of(settings_in(tmp_path), tmp_path)
    application.access = Access(keys=KEYS)
    with browser(application) as api:
        for path, methods in api.get("/openapi.json").json()["paths"].items():
            for method in methods:
                answer = api.request(method, path.replace("{id}", "0" * 32))
                expected = path in ("/healthz", "/readyz")
                assert (answer.status_code != 401) is expected, (method, path)
