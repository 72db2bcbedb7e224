"""Byte ranges of one file in any store: merged, many in flight, retried, and counted.

A slide reader knows which bytes it will need and in which order. `RangeReader.stream` takes
that list and hands the bytes back in the same order, while the fetches run ahead of it, so
that the latency of an object store is paid once and not once a tile.
"""

import io
import os
import random
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from pathray.errors import SlideError

Range = tuple[int, int]
"""First byte and the byte after the last."""

MAX_GAP = 4096
"""Ranges closer than this may be fetched together..."""
GAP_SHARE = 0.1
"""...as long as the bytes fetched in vain stay under this share of those asked for."""
GROUP_RANGES = 128
GROUP_BYTES = 2 << 20
"""A group of consecutive ranges is merged and submitted at once; it closes at either bound."""
READ_AHEAD_BYTES = 16 << 20
IN_FLIGHT = 32
ATTEMPTS = 5
FIRST_PAUSE = 0.1
PERMANENT = (FileNotFoundError, PermissionError, NotImplementedError, TypeError, ValueError)
VERSION_KEYS = (
    *("ETag", "etag", "md5", "Content-MD5", "mtime", "LastModified", "last_modified"),
    *("Last-Modified", "updated", "created"),
)
"""What the file systems of fsspec call it."""

Group = list[tuple[Range, list[int]]]
"""Merged ranges, each with the positions of its members in the list asked for."""


def merge(ranges: Sequence[Range], first: int, last: int) -> Group:
    """Merge `ranges[first:last]` where the gaps between them are small."""
    merged: Group = []
    asked = 0
    for position in sorted(range(first, last), key=ranges.__getitem__):
        start, stop = ranges[position]
        if merged:
            (run_start, run_stop), members = merged[-1]
            gap = start - run_stop
            wasted = run_stop - run_start - asked + max(gap, 0)
            if gap <= MAX_GAP and wasted <= GAP_SHARE * (asked + stop - start):
                merged[-1] = ((run_start, max(run_stop, stop)), [*members, position])
                asked += stop - start
                continue
        merged.append(((start, stop), [position]))
        asked = stop - start
    return merged


def groups(ranges: Sequence[Range]) -> Iterator[tuple[int, int]]:
    """Cut a list of ranges into consecutive groups of bounded count and bytes."""
    first = size = 0
    for position, (start, stop) in enumerate(ranges):
        if position > first and (
            position - first == GROUP_RANGES or size + stop - start > GROUP_BYTES
        ):
            yield first, position
            first, size = position, 0
        size += stop - start
    if first < len(ranges):
        yield first, len(ranges)


class RangeReader:
    """One file, local or remote, read by byte ranges. Used by one thread at a time."""

    def __init__(self, uri: str, filesystem_options: Mapping[str, Any] | None = None) -> None:
        """Open `uri`; raises SlideError when it cannot be found or its size is not known."""
        self.uri = uri
        self.size: int
        self.version: str | None = None
        """What changes when the file changes (ETag, mtime); None where the store has neither."""
        self.bytes_read = 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._file: io.FileIO | None = None
        try:
            self._fs, self._path = fsspec.core.url_to_fs(uri, **dict(filesystem_options or {}))
            if isinstance(self._fs, LocalFileSystem):
                self._open_local()
            else:
                self._open_remote()
        except FileNotFoundError as error:
            raise SlideError(f"{uri}: there is no such file") from error
        except (OSError, ImportError, ValueError) as error:
            raise SlideError(f"{uri}: cannot be opened: {error}") from error

    def _open_local(self) -> None:
        self._file = io.FileIO(self._path)
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        self.version = f"{status.st_mtime_ns}-{status.st_ino}"

    def _open_remote(self) -> None:
        info = self._fs.info(self._path)
        if not isinstance(info.get("size"), int):
            raise SlideError(f"{self.uri}: the store does not say how large it is")
        self.size = info["size"]
        self.version = next((str(info[key]) for key in VERSION_KEYS if info.get(key)), None)

    def read(self, start: int, stop: int) -> bytes:
        """The bytes of one range, now. Raises SlideError when the store will not give them."""
        return self._fetch(start, stop)

    def stream(self, ranges: Sequence[Range]) -> Generator[bytes, None, None]:
        """The bytes of each range, in the order asked, fetched ahead of their use.

        At most `READ_AHEAD_BYTES` (or one group) are fetched and not yet handed out. Raises
        SlideError when the store will not give a range after `ATTEMPTS` attempts.
        """
        ahead: deque[tuple[int, int, list[tuple[Future[bytes] | None, Range, list[int]]]]]
        ahead = deque()
        pending = 0
        upcoming = groups(ranges)
        more = True
        try:
            while True:
                while more and (not ahead or pending < READ_AHEAD_BYTES):
                    span = next(upcoming, None)
                    more = span is not None
                    if span is not None:
                        runs = [
                            (self._submit(run), run, members)
                            for run, members in merge(ranges, *span)
                        ]
                        ahead.append((*span, runs))
                        pending += sum(run[1] - run[0] for _, run, _ in runs)
                if not ahead:
                    return
                first, last, runs = ahead.popleft()
                pieces: list[bytes] = [b""] * (last - first)
                for future, run, members in runs:
                    data = future.result() if future else self._fetch(*run)
                    pending -= run[1] - run[0]
                    for position in members:
                        start, stop = ranges[position]
                        pieces[position - first] = data[start - run[0] : stop - run[0]]
                yield from pieces
        finally:
            for _, _, runs in ahead:
                for future, _, _ in runs:
                    if future:
                        future.cancel()

    def _submit(self, run: Range) -> Future[bytes] | None:
        """Start a fetch; a local file needs no thread, the kernel reads ahead when told."""
        if self._file is not None:
            if hasattr(os, "posix_fadvise"):
                start, stop = run
                os.posix_fadvise(self._file.fileno(), start, stop - start, os.POSIX_FADV_WILLNEED)
            return None
        if self._pool is None:
            self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="slide-ranges")
        return self._pool.submit(self._fetch, *run)

    def _fetch(self, start: int, stop: int) -> bytes:
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                data = self._fetch_once(start, stop)
                if len(data) != stop - start:
                    raise OSError(f"{len(data)} bytes came instead of {stop - start}")
                with self._lock:
                    self.bytes_read += len(data)
                return data
            except Exception as error:  # stores raise what they like; see PERMANENT
                if attempt == ATTEMPTS or isinstance(error, PERMANENT):
                    raise SlideError(
                        f"{self.uri}: bytes {start}-{stop} cannot be read: {error}"
                    ) from error
                time.sleep(pause * random.uniform(0.5, 1.5))
                pause *= 2
        raise AssertionError("unreachable")

    def _fetch_once(self, start: int, stop: int) -> bytes:
        if self._file is None:
            return bytes(self._fs.cat_file(self._path, start=start, end=stop))
        data = os.pread(self._file.fileno(), stop - start, start)
        while 0 < len(data) < stop - start:  # Linux hands out at most 2 GiB a call
            more = os.pread(self._file.fileno(), stop - start - len(data), start + len(data))
            if not more:
                break
            data += more
        return data

    def close(self) -> None:
        """Drop the file and whatever is still in flight."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        if self._file is not None:
            self._file.close()
