"""`pathray serve`: an application of a Serve config file, on this machine or a cluster.

The file is Ray Serve's own, the same that `serve deploy` and a RayService take. What runs is
named in it by import path, so that no job imports the endpoints.
"""

import importlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pathray.errors import RequestError, one_line

START_SECONDS = 300.0
HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # One machine's proxy knows at once that a replica goes; Ray waits 30 s for those of many.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    # A client that does not finish its headers; Ray gives it an hour.
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
}
"""What a local Ray has in its environment for `--haproxy`."""


class ServeFlags(BaseModel):
    """Bring up the endpoints that a Serve config file (--config) describes, until interrupted."""

    model_config = ConfigDict(frozen=True, extra="allow")  # Ray judges the rest of the file

    host: str | None = Field(None, description="address to listen on, instead of the file's")
    port: int | None = Field(
        None, ge=0, le=65535, description="port to listen on, instead of the file's"
    )
    haproxy: bool = Field(
        False, description="HAProxy in front: faster, and on all interfaces, so with keys only"
    )


Flags = ServeFlags


def run(flags: ServeFlags) -> int:
    """Deploy, say where it listens, stay until SIGINT or SIGTERM; then drain. Exit code 0."""
    if not flags.model_extra:
        raise RequestError("--config is required: a Ray Serve config file (see docs/serving.md)")
    if flags.haproxy:
        _choose_haproxy()
    from jobs.cluster import connected

    config = read_config(dict(flags.model_extra), flags.host, flags.port)
    # Ray runs its workers at nice 15; endpoints are what somebody waits for.
    os.environ.setdefault("RAY_worker_niceness", "0")
    with connected(), running(config):
        options = config.http_options
        print(f"serving on http://{options.host}:{options.port}  (stop with Ctrl-C)", flush=True)
        until_stopped()
        print("stopping: requests under way are finished")
    return 0


def _choose_haproxy() -> None:
    """Ray reads these when its Serve is first imported, here and in its workers."""
    if "RAY_ADDRESS" in os.environ:
        raise RequestError(
            "--haproxy is for a Ray of this machine's own; the nodes of a cluster need "
            "RAY_SERVE_ENABLE_HA_PROXY=1 where they start (see docs/serving.md)"
        )
    for name, value in HAPROXY.items():
        os.environ.setdefault(name, value)


def read_config(content: Mapping[str, Any], host: str | None, port: int | None) -> Any:
    """The file's content as Ray's `ServeDeploySchema`, on loopback unless it says otherwise.

    RequestError where Ray or an application's own settings do not accept it.
    """
    from ray.serve.schema import ServeDeploySchema

    http = {"host": "127.0.0.1", **(content.get("http_options") or {})}
    http |= {k: v for k, v in {"host": host, "port": port}.items() if v is not None}
    try:
        config = ServeDeploySchema.model_validate({**content, "http_options": http})
        for application in config.applications:
            _check_arguments(application)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RequestError(f"--config: {place}: {first['msg']}") from error
    return config


def _check_arguments(application: Any) -> None:
    """Build the application here once: what its settings lack is said before Ray starts it."""
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

    module, _, name = application.import_path.replace(":", ".").rpartition(".")
    try:
        builder = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise RequestError(f"--config: import_path: {one_line(error)}") from error
    call_user_app_builder_with_args_if_necessary(builder, application.args)


@contextmanager
def running(config: Any) -> Iterator[None]:
    """The applications of a config, up for the length of the block."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        deploy(config)
        yield
    finally:
        # The proxies stay up meanwhile: an end of all at once cuts off what is under way.
        for application in config.applications:
            serve.delete(application.name)
        serve.shutdown()


def deploy(config: Any) -> None:
    """Bring the applications of a config up, or to what it says now, replica by replica.

    RequestError with the reason where one does not come up.
    """
    from ray.serve._private.api import serve_start

    client = serve_start(
        http_options=config.http_options.model_dump(), proxy_location=config.proxy_location
    )
    client.deploy_apps(config)
    _await_start([application.name for application in config.applications])


def _await_start(names: list[str]) -> None:
    """RequestError with the reason where an application does not come up."""
    from ray import serve

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = serve.status().applications
        if all(name in found and found[name].status == "RUNNING" for name in names):
            return
        for name in names:
            if name in found and found[name].status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise RequestError(f"{name} does not start: {_reason(found[name])}")
        time.sleep(0.2)
    raise RequestError(f"the application is not up after {START_SECONDS:g} s")


def _reason(status: Any) -> str:
    """The last line of a deployment's traceback says what was wrong."""
    texts = [each.message for each in status.deployments.values() if each.message]
    lines = [line.strip() for text in texts or [status.message] for line in text.splitlines()]
    telling = [line for line in lines if "Error" in line] or lines or ["no reason was given"]
    return telling[-1].removeprefix("pathray.errors.RequestError: ")


def until_stopped() -> None:
    """Wait for SIGINT or SIGTERM."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
