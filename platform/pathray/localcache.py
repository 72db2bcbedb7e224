"""A bounded node-local cache of folders, shared by all processes of a node.

A folder is filled aside and renamed, so a partial one is never seen. Every user of a folder
holds a shared lock; what nobody holds may be evicted, least recently used first.
"""

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pathray.errors import PathrayError

WAIT_SECONDS = 600.0
PARTIAL = ".partial-"
_ENTRY = re.compile(rf"({re.escape(PARTIAL)})?[0-9a-f]{{24}}-\d+")


def default_folder() -> Path:
    """`PATHRAY_CACHE_DIR`, or a folder of this user in the system's temporary directory."""
    chosen = os.environ.get("PATHRAY_CACHE_DIR")
    return Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"pathray-{os.getuid()}"


@dataclass(frozen=True)
class LocalCache:
    """The cache of one node: its folder and the bytes it may hold.

    `noun` is what an entry is, for messages; `error` is raised when there is no room.
    """

    folder: Path
    limit_bytes: int
    noun: str
    error: type[PathrayError]

    @contextmanager
    def lease(
        self,
        key: str,
        size: Callable[[], int],
        fill: Callable[[Path], None],
        wait_seconds: float = WAIT_SECONDS,
    ) -> Iterator[Path]:
        """The folder of a key (24 hex digits), kept while the block runs.

        Of several processes that ask for the same key one calls `size` (bytes to set aside)
        and `fill` (with an empty folder), and the others wait. Raises `error` when the entry
        is larger than the cache, or when entries in use leave no room for `wait_seconds`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{key}.lock").open("wb") as lock:
            _take(lock, fcntl.LOCK_SH)
            while (entry := self._find(key)) is None:
                _take(lock, fcntl.LOCK_EX)
                if self._find(key) is None:
                    self._make(f"{key}-{size()}", fill, wait_seconds)
                _take(lock, fcntl.LOCK_SH)
            os.utime(entry)
            yield entry

    def used_bytes(self) -> int:
        """Bytes of all entries here, those being made included."""
        return sum(_size(entry) for entry in self._entries())

    def _find(self, key: str) -> Path | None:
        return next(self.folder.glob(f"{key}-*"), None)

    def _entries(self) -> list[Path]:
        # By name, because the folder may be shared: what is not ours is never evicted.
        return [path for path in self.folder.iterdir() if _ENTRY.fullmatch(path.name)]

    def _make(self, name: str, fill: Callable[[Path], None], wait_seconds: float) -> None:
        """Make an entry; the caller holds its exclusive lock."""
        partial = self.folder / f"{PARTIAL}{name}"
        shutil.rmtree(partial, ignore_errors=True)
        self._make_room(partial, wait_seconds)
        try:
            fill(partial)
            partial.rename(self.folder / name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _make_room(self, partial: Path, wait_seconds: float) -> None:
        """Evict until the entry fits, then reserve its room by making the partial folder."""
        size = _size(partial)
        if size > self.limit_bytes:
            raise self.error(
                f"the {self.noun} ({size / 1e9:.2f} GB) is larger than the local cache "
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
                raise self.error(
                    f"the local cache {self.folder} is full of {self.noun}s in use: "
                    "give a larger --cache-gb"
                )
            time.sleep(0.2)

    def _evict(self, size: int) -> None:
        for entry in sorted(self._entries(), key=_last_used):
            if self.used_bytes() + size <= self.limit_bytes:
                return
            key = entry.name.removeprefix(PARTIAL).rsplit("-", 1)[0]
            with (self.folder / f"{key}.lock").open("wb") as lock:
                if _take(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    _remove(entry)


def _size(entry: Path) -> int:
    return int(entry.name.rsplit("-", 1)[1])


def _last_used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(entry: Path) -> None:
    """Renamed first, so that a half-deleted entry is never taken for a whole one."""
    if not entry.name.startswith(PARTIAL):
        doomed = entry.with_name(PARTIAL + entry.name)
        shutil.rmtree(doomed, ignore_errors=True)
        entry = entry.rename(doomed)
    shutil.rmtree(entry, ignore_errors=True)


def _take(lock: BinaryIO, how: int) -> bool:
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        return False
    return True
