"""Which URIs a client may name: those below configured prefixes, and nothing else.

A URI is taken apart before anything is opened. What could be read in two ways (`..`, percent
encoding, chained stores, globs) is refused and not interpreted. Local paths are followed to
where they really lie, so that a symbolic link does not lead out.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pathray import storage
from pathray.errors import RequestError
from serve.problem import Problem

SCHEMES = frozenset({"s3", "gs", "az", "abfs", "http", "https", "file", "local"})
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f%\\?#*\[\]{}]|::|\s$|^\s")
LONGEST = 2048


class Allowed:
    """The prefixes of one kind of object (`kind` is its word in messages)."""

    def __init__(self, kind: str, prefixes: Sequence[str]) -> None:
        self._kind = kind
        try:
            self._prefixes = [_canonical(prefix) for prefix in prefixes]
        except ValueError as error:
            raise RequestError(
                f"{kind}: a prefix is neither an absolute path nor a URI: {', '.join(prefixes)}"
            ) from error

    def check(self, uri: str) -> str:
        """The URI to open; a 403 problem, which does not say what exists, for any other."""
        refused = Problem(403, f"{self._kind}: this URI is not below an allowed prefix")
        if len(uri) > LONGEST or _AMBIGUOUS.search(uri):
            raise refused
        parts = _path(uri).split("/")[1:]
        if not parts or any(part in ("", ".", "..") for part in parts):
            raise refused
        try:
            asked = _canonical(uri)
        except (ValueError, OSError, RuntimeError) as error:
            raise refused from error
        for prefix in self._prefixes:
            if asked.startswith(prefix.rstrip("/") + "/"):
                return asked
        raise refused


def _path(uri: str) -> str:
    """The path with its leading slash: `s3://bucket/a/b` -> `/a/b`."""
    if storage.is_local(uri):
        return storage.local_path(uri)
    return "/" + uri.split("://", 1)[1].partition("/")[2]


def _canonical(uri: str) -> str:
    """One spelling: the real path of a local file; else scheme and host in small letters."""
    if storage.is_local(uri):
        path = Path(storage.local_path(uri))
        if not path.is_absolute():
            raise ValueError("not absolute")
        return str(path.resolve())
    split = urlsplit(uri)
    if split.scheme not in SCHEMES or "@" in split.netloc or not split.netloc:
        raise ValueError("scheme or host")
    # Buckets keep their case, hosts have none.
    host = split.netloc.lower() if split.scheme.startswith("http") else split.netloc
    return f"{split.scheme}://{host}{split.path}"
