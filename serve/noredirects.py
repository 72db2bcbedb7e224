"""No HTTP redirects: a server that is allowed must not send us to one that is not."""

from typing import Any, NoReturn

import fsspec.config


class RedirectRefusedError(OSError):
    """A web server answered with a redirect."""


def refuse_redirects() -> None:
    """Make every HTTP file system that this process opens from now on refuse redirects."""
    fsspec.config.conf.setdefault("http", {})["get_client"] = _client
    fsspec.config.conf.setdefault("https", {})["get_client"] = _client


async def _client(**settings: Any) -> Any:
    import aiohttp

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse)
    return aiohttp.ClientSession(trace_configs=[trace], **settings)


async def _refuse(*_: object) -> NoReturn:
    raise RedirectRefusedError("the server redirects, which is refused")
