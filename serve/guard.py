"""What every request passes first: key, body limit, admission, deadline.

A plain ASGI layer, so that nothing of a body is held before it is counted.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.keys import holder, is_loopback
from serve.problem import Problem, busy, log_without_text, respond
from serve.settings import Key, Limits

log = logging.getLogger("ray.serve.pathray")

GUARDED = ("/v1/", "/metrics")
"""Paths that want a key. The others tell nothing: health, the API's description, the page."""
COSTLY = ("/v1/embed", "/v1/predict")
"""Paths whose POST is counted against `concurrent_requests`."""
LONGEST_LOGGED = 200
"""Characters of a path that the log has."""


class Guard:
    """Lets a request through to `app`, or answers it with a problem.

    `keys` are asked for at every request: one that is revoked is out at once.
    """

    def __init__(self, app: ASGIApp, limits: Limits, keys: Callable[[], Sequence[Key]]) -> None:
        self._app, self._limits, self._keys = app, limits, keys
        self._working = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, receive, send, round(self._limits.body_mb * 1e6))
        started = time.perf_counter()
        who = None
        try:
            who = self._let_in(request)
            async with asyncio.timeout(self._limits.seconds):
                with self._admitted(request):
                    await self._app(scope, request.receive, request.send)
        except TimeoutError:
            late = "the server" if request.body_complete else "the upload"
            status = 504 if request.body_complete else 408
            await request.refuse(Problem(status, f"{late} took longer than the time limit"))
        except Problem as problem:
            await request.refuse(problem)
        except Exception as error:
            log_without_text(request.told, error)
            await request.refuse(Problem(500, "the server failed on this request"))
        took = (time.perf_counter() - started) * 1000
        log.info("%s %s %.1f ms %s", request.told, request.status, took, who)

    def _let_in(self, request: "_Request") -> str | None:
        """Who asks; a problem where nobody may."""
        keys = self._keys()
        if not keys:
            _refuse_other_sites(request)
            return None
        if not request.path.startswith(GUARDED):
            return None
        who = holder(request.header("authorization"), keys)
        if who is None:
            raise Problem(
                401,
                "give a key that is let in: `Authorization: Bearer KEY`",
                {"WWW-Authenticate": "Bearer"},
            )
        return who

    @contextmanager
    def _admitted(self, request: "_Request") -> Iterator[None]:
        if request.method != "POST" or request.path not in COSTLY:
            yield
            return
        if self._working >= self._limits.concurrent_requests:
            raise busy("too many requests at once: try again", self._limits.retry_after_s)
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1


def _refuse_other_sites(request: "_Request") -> None:
    """Without keys a browser on this machine must not be made to ask by another site's page."""
    names = [request.header("host") or ""]
    origin = request.header("origin")
    if origin is not None:
        names.append(origin.partition("://")[2])
    if not all(is_loopback(_name(name)) for name in names):
        raise Problem(403, "without keys the service answers on this machine's own address only")


def _name(host: str) -> str:
    """A host without its port: `127.0.0.1:8000`, `[::1]:8000`."""
    if host.startswith("["):
        return host.partition("]")[0]
    return host.partition(":")[0]


class _Request:
    """One request's two channels: counts what comes in, knows what has gone out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, most_bytes: int) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._most, self._received = most_bytes, 0
        self.method: str = scope["method"]
        # Behind a route prefix the path begins with it.
        self.path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        # As the log has it: on one line, whatever was asked for.
        self.told = f"{self.method} {quote(self.path)[:LONGEST_LOGGED]}"
        self.status: int | None = None
        self.body_complete = False
        length = self.header("content-length") or "0"
        self._too_long = length.isdecimal() and int(length[:18]) > most_bytes

    def header(self, name: str) -> str | None:
        """A header's first value."""
        wanted = name.encode()
        return next(
            (value.decode("latin-1") for key, value in self._scope["headers"] if key == wanted),
            None,
        )

    async def receive(self) -> Message:
        """The next part of the body; a problem as soon as it is too long."""
        if self._too_long:
            raise self._oversize()
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self.body_complete = not message.get("more_body", False)
            if self._received > self._most:
                raise self._oversize()
        return message

    def _oversize(self) -> Problem:
        return Problem(413, f"a body may have {self._most / 1e6:g} MB")

    async def send(self, message: Message) -> None:
        """Pass on, noting the status."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer has begun."""
        if self.status is None:
            await respond(problem)(self._scope, self._receive, self.send)
