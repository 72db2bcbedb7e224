"""A bounded node-local cache of remote slides, for the readers that need a whole local file.

One folder a slide, named by URI, size and version, holds the slide with its companions. It
is downloaded aside and renamed, so a partial download is never seen. Every user of a slide
holds a shared lock; what nobody holds may be evicted, least recently used first.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pathray import storage
from pathray.errors import SlideError
from pathray.slides.companions import companions
from pathray.storage import Entry, Source

WAIT_SECONDS = 600.0


def default_folder() -> Path:
    """`PATHRAY_CACHE_DIR`, or a folder of this user in the system's temporary directory."""
    chosen = os.environ.get("PATHRAY_CACHE_DIR")
    return Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"pathray-{os.getuid()}"


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
        key = _key(uri, source, others)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{key}.lock").open("wb") as lock:
            _take(lock, fcntl.LOCK_SH)
            entry = self.folder / f"{key}-{size}"
            while not entry.is_dir():
                _take(lock, fcntl.LOCK_EX)
                if not entry.is_dir():
                    self._download(uri, source, others, key, entry, size, wait_seconds)
                _take(lock, fcntl.LOCK_SH)
            os.utime(entry)
            yield entry / uri.rsplit("/", 1)[-1]

    def used_bytes(self) -> int:
        """Bytes of all slides here, those being downloaded included."""
        return sum(_size(entry) for entry in self._entries())

    def _entries(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.is_dir()]

    def _download(
        self,
        uri: str,
        source: Source,
        others: list[Entry],
        key: str,
        entry: Path,
        size: int,
        wait_seconds: float,
    ) -> None:
        """Fetch a slide; the caller holds its exclusive lock."""
        partial = self.folder / f".partial-{key}-{size}"
        shutil.rmtree(partial, ignore_errors=True)
        self._make_room(partial, size, wait_seconds)
        try:
            base = storage.parent(uri)
            files = [Entry(uri, source), *others]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda file: _fetch(file, base, partial), files))
            if storage.stat(uri) != source:
                raise SlideError("the slide changed while it was being downloaded: run again")
            partial.rename(entry)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _make_room(self, partial: Path, size: int, wait_seconds: float) -> None:
        """Evict until `size` fits, then reserve it by making the partial folder."""
        if size > self.limit_bytes:
            raise SlideError(
                f"the slide ({size / 1e9:.2f} GB) is larger than the local cache "
                f"({self.limit_bytes / 1e9:.2f} GB): give a larger --cache-gb"
            )
        deadline = time.monotonic() + wait_seconds
        while True:
            with (self.folder / "cache.lock").open("wb") as lock:
                _take(lock, fcntl.LOCK_EX)
                self._evict(size)
                if self.used_bytes() + size <= self.limit_bytes:
                    partial.mkdir()
                    return
            if time.monotonic() > deadline:
                raise SlideError(
                    f"the local cache {self.folder} is full of slides in use: "
                    "give a larger --cache-gb"
                )
            time.sleep(0.2)

    def _evict(self, size: int) -> None:
        for entry in sorted(self._entries(), key=_last_used):
            if self.used_bytes() + size <= self.limit_bytes:
                return
            key = entry.name.removeprefix(".partial-").rsplit("-", 1)[0]
            with (self.folder / f"{key}.lock").open("wb") as lock:
                if _take(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(entry, ignore_errors=True)


def _key(uri: str, source: Source, others: list[Entry]) -> str:
    parts = [uri, str(source.size), source.version]
    parts += [f"{e.uri} {e.source.size} {e.source.version}" for e in others]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _size(entry: Path) -> int:
    return int(entry.name.rsplit("-", 1)[1])


def _last_used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _take(lock: BinaryIO, how: int) -> bool:
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        return False
    return True


def _fetch(file: Entry, base: str, folder: Path) -> None:
    target = folder / file.uri.removeprefix(base).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    fs, path = storage.open_filesystem(file.uri)
    fs.get_file(path, str(target))
    if target.stat().st_size != file.source.size:
        raise SlideError(
            f"{file.uri} came as {target.stat().st_size} of {file.source.size} bytes: run again"
        )
