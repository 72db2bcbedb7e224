"""Objects behind URIs: list, stat, read, put atomically.

A URI is anything fsspec opens: a local path, `s3://`, `gs://`, `http://`, `memory://`.
Credentials and endpoints come from the usual environment (AWS_*, AWS_ENDPOINT_URL).
"""

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import fsspec
from fsspec.core import url_to_fs

from pathray.errors import RequestError, one_line

PARALLEL_REQUESTS = 16
UNFINISHED = ".writing-"
"""How the name of a local file begins until it is whole; no listing shows it."""
VERSION_KEYS = (
    *("ETag", "etag", "generation", "md5", "Content-MD5", "mtime", "LastModified"),
    *("last_modified", "Last-Modified", "updated", "created"),
)
"""What the file systems of fsspec call an object's version."""


@dataclass(frozen=True)
class Source:
    """What identifies one version of an object: its size in bytes and its ETag or mtime.

    `modified` (ISO 8601, UTC; None where the store does not say) is told, never compared.
    """

    size: int
    version: str
    modified: str | None = None


@dataclass(frozen=True)
class Entry:
    """One object of a listing."""

    uri: str
    source: Source

    @property
    def name(self) -> str:
        return self.uri.rsplit("/", 1)[-1]


def open_filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI and the path inside it. Listings are never cached."""
    if is_local(uri):
        # Not by `url_to_fs`, which takes a `::` in a file's name for a chain of stores.
        local = fsspec.filesystem("file")
        return local, str(local._strip_protocol(local_path(uri)))
    try:
        # A cached listing would hide what other workers wrote since.
        fs, path = url_to_fs(uri, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise RequestError(f"cannot open {uri}: {one_line(error)}") from error
    return fs, path


def is_local(uri: str) -> bool:
    """Whether the URI is a path of this machine's own file system (NFS and the like count)."""
    return "://" not in uri or uri.startswith(("file://", "local://"))


def absolute(uri: str) -> str:
    """A local path made absolute, so that workers in another directory find it; else `uri`."""
    if not is_local(uri):
        return uri.rstrip("/")
    return str(Path(local_path(uri)).expanduser().absolute())


def local_path(uri: str) -> str:
    """The file-system path of a local URI."""
    return uri.split("://", 1)[1] if "://" in uri else uri


def join(base: str, *parts: str) -> str:
    """A URI below another."""
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts)])


def parent(uri: str) -> str:
    """The folder or prefix a URI lies in."""
    return uri.rstrip("/").rsplit("/", 1)[0]


def stem(uri: str) -> str:
    """The file name without its last suffix: `s3://b/a.b.svs` -> `a.b`."""
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] if "." in name[1:] else name


def _source(info: dict[str, Any]) -> Source:
    version = next((info[key] for key in VERSION_KEYS if info.get(key)), "")
    return Source(int(info.get("size") or 0), str(version).strip('"'), _modified(info))


def _modified(info: dict[str, Any]) -> str | None:
    when = info.get("mtime") or info.get("LastModified") or info.get("updated")
    if isinstance(when, int | float):
        when = datetime.fromtimestamp(when, UTC)
    return when.astimezone(UTC).isoformat() if isinstance(when, datetime) else None


def stat(uri: str) -> Source:
    """Size and version of an object; FileNotFoundError where there is none."""
    fs, path = open_filesystem(uri)
    info = fs.info(path)
    # A web server answers for a folder with a page that lists it.
    if info.get("type") == "directory" or info.get("mimetype") == "text/html":
        raise IsADirectoryError(uri)
    return _source(info)


def exists(uri: str) -> bool:
    """Whether an object (not a prefix) is there."""
    try:
        stat(uri)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False
    return True


def is_prefix(uri: str) -> bool:
    """Whether the URI is a directory, or a prefix with objects below it."""
    fs, path = open_filesystem(uri)
    return bool(fs.isdir(path))


def lacks_bucket(uri: str) -> bool:
    """Whether the store says that there is no such bucket; listings only come out empty there."""
    fs, path = open_filesystem(uri)
    if "s3" not in fs.protocol:
        return False
    try:
        fs.info(path.split("/", 1)[0])
    except FileNotFoundError:
        return True
    except Exception:  # a user may have rights to a prefix alone
        return False
    return False


def list_objects(prefix: str, recursive: bool = True) -> list[Entry]:
    """All objects below a prefix, sorted by URI; empty where there are none."""
    fs, path = open_filesystem(prefix)
    try:
        found = fs.find(path, detail=True, maxdepth=None if recursive else 1)
    except FileNotFoundError:
        return []
    found.pop(path, None)  # some stores find an object below itself
    # Named below the prefix as it was asked for, whatever else the store calls itself.
    return _entries(found.values(), lambda name: join(prefix, name.removeprefix(path)))


def glob(pattern: str) -> list[Entry]:
    """All objects that match a pattern with `*`, `?`, `[...]` or `**`, sorted by URI."""
    fs, path = open_filesystem(pattern)
    local = "file" in fs.protocol
    found = fs.glob(path, detail=True)
    return _entries(found.values(), str if local else fs.unstrip_protocol)


def _entries(infos: Iterable[dict[str, Any]], name: Callable[[str], str]) -> list[Entry]:
    entries = [
        Entry(name(info["name"]), _source(info))
        for info in infos
        if info.get("type") != "directory"
        and not info["name"].endswith("/")
        and not info["name"].rsplit("/", 1)[-1].startswith(UNFINISHED)
    ]
    return sorted(entries, key=lambda entry: entry.uri)


def read_bytes(uri: str) -> bytes:
    """A whole object."""
    fs, path = open_filesystem(uri)
    return cast(bytes, fs.cat_file(path))


def read_range(uri: str, start: int, stop: int) -> bytes:
    """Bytes [start, stop) of an object; shorter at its end."""
    fs, path = open_filesystem(uri)
    return cast(bytes, fs.cat_file(path, start=start, end=stop))


def open_for_reading(uri: str) -> Any:
    """A seekable binary file over an object, for readers that fetch parts (Parquet footers)."""
    fs, path = open_filesystem(uri)
    return fs.open(path, "rb")


def put_bytes(uri: str, data: bytes) -> None:
    """Write an object whole or not at all."""
    fs, path = open_filesystem(uri)
    if "file" in fs.protocol:
        with _aside(Path(path)) as temporary:
            temporary.write_bytes(data)
    else:
        fs.pipe_file(path, data)


def put_file(uri: str, source: Path) -> None:
    """Upload a local file as an object, whole or not at all."""
    fs, path = open_filesystem(uri)
    if "file" in fs.protocol:
        with _aside(Path(path)) as temporary:
            shutil.copyfile(source, temporary)
    else:
        fs.put_file(str(source), path)


@contextmanager
def _aside(destination: Path) -> Iterator[Path]:
    """A temporary file beside its destination, renamed onto it when the block succeeds."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    # Not by `tempfile`, which makes files private: an object is as readable as its neighbours.
    temporary = destination.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    try:
        yield temporary
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


def delete(uris: Iterable[str]) -> None:
    """Remove objects; one that is already gone is no error."""

    def remove(uri: str) -> None:
        fs, path = open_filesystem(uri)
        try:
            fs.rm_file(path)
        except FileNotFoundError:
            return
        if "file" in fs.protocol:
            _remove_empty_parent(Path(path))

    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        list(pool.map(remove, uris))


def _remove_empty_parent(path: Path) -> None:
    """Local prefixes are directories: an empty one goes with its last object."""
    try:
        path.parent.rmdir()
    except OSError:
        return


def reason(uri: str, error: BaseException) -> str:
    """One line that says why a store refused, and the cure."""
    text = f"{type(error).__name__} {error}"
    if isinstance(error, PermissionError) or "Forbidden" in text or "InvalidAccessKey" in text:
        keys = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        cure = keys if uri.startswith("s3") else "check its permissions"
        return f"no permission for {uri}: {cure} ({one_line(error, 120)})"
    if isinstance(error, FileNotFoundError):
        return f"{uri} does not exist"
    if "NoCredentials" in text:
        return f"no credentials for {uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "EndpointConnection" in text or "Connect" in text:
        cure = "AWS_ENDPOINT_URL" if uri.startswith("s3") else "its address and the network"
        return f"cannot reach the store of {uri}: check {cure} ({one_line(error, 120)})"
    return f"cannot use {uri}: {one_line(error, 160)}"
