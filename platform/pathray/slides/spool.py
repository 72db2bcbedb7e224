"""A bounded node-local cache of remote slides, for the readers that need a whole local file.

One folder a slide, named by URI, size and version, holds the slide with its companions.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pathray import storage
from pathray.errors import SlideError
from pathray.localcache import PARTIAL, WAIT_SECONDS, LocalCache, default_folder
from pathray.slides.companions import companions
from pathray.storage import Entry, Source

__all__ = ["PARTIAL", "WAIT_SECONDS", "Spool", "default_folder"]


@dataclass(frozen=True)
class Spool:
    """The cache of one node: its folder and the bytes it may hold."""

    folder: Path
    limit_bytes: int

    @contextmanager
    def lease(self, uri: str, wait_seconds: float = WAIT_SECONDS) -> Iterator[Path]:
        """The local path of a slide, kept while the block runs.

        Of several processes that ask for the same slide one downloads and the others wait.
        Raises SlideError when the slide is larger than the cache, when slides in use leave
        no room for `wait_seconds`, or when the slide changed while it was downloaded.
        """
        try:
            source, others = storage.stat(uri), companions(uri)
        except FileNotFoundError as error:
            raise SlideError(f"{uri} does not exist") from error
        size = source.size + sum(entry.source.size for entry in others)

        def download(folder: Path) -> None:
            _download([Entry(uri, source), *others], storage.parent(uri), folder)
            if storage.stat(uri) != source:
                raise SlideError("the slide changed while it was being downloaded: run again")

        key = _key(uri, source, others)
        with self._cache.lease(key, lambda: size, download, wait_seconds) as entry:
            yield entry / uri.rsplit("/", 1)[-1]

    def used_bytes(self) -> int:
        """Bytes of all slides here, those being downloaded included."""
        return self._cache.used_bytes()

    @property
    def _cache(self) -> LocalCache:
        return LocalCache(self.folder, self.limit_bytes, "slide", SlideError)


def _key(uri: str, source: Source, others: list[Entry]) -> str:
    parts = [uri, str(source.size), source.version]
    parts += [f"{e.uri} {e.source.size} {e.source.version}" for e in others]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _download(files: list[Entry], base: str, folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda file: _fetch(file, base, folder), files))


def _fetch(file: Entry, base: str, folder: Path) -> None:
    target = folder / file.uri.removeprefix(base).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    fs, path = storage.open_filesystem(file.uri)
    fs.get_file(path, str(target))
    if target.stat().st_size != file.source.size:
        raise SlideError(
            f"{file.uri} came as {target.stat().st_size} of {file.source.size} bytes: run again"
        )
