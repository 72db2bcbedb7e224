"""The range reader fetches what it needs and no more, survives a flaky store, and counts."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from written_slides import photograph, tile_entries, write_slide

from pathray.errors import SlideError
from pathray.slides import ranges
from pathray.slides.ranges import RangeReader, groups, merge
from pathray.slides.tiff import TiffReader


class CountingFileSystem(MemoryFileSystem):
    """A store that notes each range asked for, and fails as often as it is told."""

    protocol = "counting"
    store: ClassVar[dict[str, Any]] = {}
    asked: ClassVar[list[tuple[int, int]]] = []
    failures = 0
    at_once = most_at_once = 0
    lock = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("counting://").strip("/")

    def cat_file(self, path: str, start: int, end: int, **_: Any) -> bytes:  # type: ignore
        cls = type(self)
        with cls.lock:
            cls.asked.append((start, end))
            cls.at_once += 1
            cls.most_at_once = max(cls.most_at_once, cls.at_once)
            fail = cls.failures > 0
            cls.failures -= fail
        time.sleep(0.005)
        with cls.lock:
            cls.at_once -= 1
        if fail:
            raise ConnectionResetError("the store hung up")
        return super().cat_file(path, start, end)


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> type[CountingFileSystem]:
    fsspec.register_implementation("counting", CountingFileSystem, clobber=True)
    monkeypatch.setattr(ranges, "FIRST_PAUSE", 0.001)
    CountingFileSystem.asked = []
    CountingFileSystem.failures = CountingFileSystem.most_at_once = 0
    return CountingFileSystem


def put(path: Path, name: str) -> str:
    fsspec.filesystem("counting").pipe_file(f"/{name}", path.read_bytes())
    return f"counting://{name}"


def test_a_slide_in_a_store_reads_as_the_local_one(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.tif", "jpeg 4:2:0")
    remote, local = TiffReader.open(put(path, "same.tif")), TiffReader.open(str(path))
    assert remote.info == local.info
    assert (remote.read(0, -5, -5, 710, 610) == local.read(0, -5, -5, 710, 610)).all()
    assert (remote.read(1, 0, 0, 175, 150) == local.read(1, 0, 0, 175, 150)).all()
    remote.close()


def test_only_the_tiles_asked_for_are_fetched_and_each_once(
    tmp_path: Path, store: type[CountingFileSystem]
) -> None:
    path = write_slide(tmp_path / "slide.tif", "none")
    entries = tile_entries(path)
    reader = TiffReader.open(put(path, "few.tif"))
    origins = np.array([[x, y] for y in range(0, 250, 50) for x in range(0, 450, 50)])
    assert sum(square is not None for square in reader.read_squares(0, origins, 60)) == 45
    fetched = Counter(
        byte // 4096 for start, stop in store.asked for byte in range(start, stop, 4096)
    )
    wanted = [0, 1, 3, 4]  # the tiles of the first two columns and rows
    for number in range(9):
        offset, count = entries[number]
        inner = range(offset // 4096 + 5, (offset + count) // 4096 - 4)
        assert {fetched[block] for block in inner} == ({1} if number in wanted else {0})
    assert reader.bytes_read == sum(stop - start for start, stop in store.asked)
    reader.close()


def test_bytes_fetched_stay_close_to_the_bytes_of_the_tiles(shared: Path) -> None:
    path = shared / "data/slides/arachnoid-cyst-HE-crop.svs"
    reader = TiffReader.open(put(path, "crop.svs"))
    origins = np.array([[x, y] for y in range(512, 2048, 256) for x in range(512, 2048, 256)])
    assert all(square is not None for square in reader.read_squares(0, origins, 256))
    entries = tile_entries(path)
    needed = sum(entries[row * 12 + column][1] for row in range(2, 8) for column in range(2, 8))
    assert needed <= reader.bytes_read <= 1.15 * needed + 4 * 16384
    reader.close()


def test_neighbouring_tiles_come_in_one_request(
    tmp_path: Path, store: type[CountingFileSystem]
) -> None:
    uri = put(write_slide(tmp_path / "slide.tif", "small tiles"), "many.tif")
    reader = TiffReader.open(uri)
    store.asked = []
    reader.read(0, 0, 0, 700, 16)
    assert len(store.asked) <= 3  # 44 tiles; a third each for the two tile tables
    reader.close()


def test_opening_again_asks_for_nothing(tmp_path: Path, store: type[CountingFileSystem]) -> None:
    uri = put(write_slide(tmp_path / "slide.tif", "deflate"), "again.tif")
    TiffReader.open(uri).close()
    store.asked = []
    again = TiffReader.open(uri)
    assert store.asked == []
    assert again.bytes_read == 0
    again.close()


def test_many_requests_are_in_flight(store: type[CountingFileSystem]) -> None:
    fsspec.filesystem("counting").pipe_file("/noise", bytes(1 << 20))
    reader = RangeReader("counting://noise")
    asked = [(start, start + 10) for start in range(0, 1 << 20, 1 << 14)]
    assert len(list(reader.stream(asked))) == 64
    assert store.most_at_once > 8
    reader.close()


def test_a_store_that_hangs_up_is_asked_again(
    tmp_path: Path, store: type[CountingFileSystem]
) -> None:
    reader = TiffReader.open(put(write_slide(tmp_path / "slide.tif", "deflate"), "flaky.tif"))
    before, store.failures, store.asked = reader.bytes_read, 3, []
    assert (reader.read(0, 0, 0, 700, 600) == photograph()).all()
    assert len(store.asked) > 3
    delivered = sum(stop - start for start, stop in set(store.asked))
    assert reader.bytes_read - before == delivered
    reader.close()


def test_a_store_that_stays_away_fails_the_slide(
    tmp_path: Path, store: type[CountingFileSystem]
) -> None:
    reader = TiffReader.open(put(write_slide(tmp_path / "slide.tif", "deflate"), "away.tif"))
    store.failures = 1000
    with pytest.raises(SlideError, match="hung up"):
        reader.read(0, 0, 0, 700, 600)
    reader.close()


def test_a_reader_left_halfway_can_be_closed_and_used_again(tmp_path: Path) -> None:
    reader = TiffReader.open(put(write_slide(tmp_path / "slide.tif", "small tiles"), "half.tif"))
    squares = reader.read_squares(0, np.array([[x, 0] for x in range(0, 600, 20)]), 20)
    next(squares)
    squares.close()  # type: ignore[attr-defined]
    assert reader.read(0, 0, 0, 30, 30).shape == (30, 30, 3)
    reader.close()


def test_merged_ranges_waste_little_and_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        starts, sizes = rng.integers(0, 400_000, 40), rng.integers(1, 20_000, 40)
        asked = list(zip(starts.tolist(), (starts + sizes).tolist(), strict=True))
        runs = merge(asked, 0, len(asked))
        assert sorted(position for _, members in runs for position in members) == list(range(40))
        for (start, stop), members in runs:
            assert start == min(asked[m][0] for m in members)
            assert stop == max(asked[m][1] for m in members)
            assert stop - start <= 1.12 * sum(asked[m][1] - asked[m][0] for m in members)


def test_groups_are_consecutive_and_bounded() -> None:
    asked = [(0, size) for size in [10] * 200 + [3 << 20] * 3 + [10] * 5]
    spans = list(groups(asked))
    assert [position for first, last in spans for position in range(first, last)] == list(
        range(208)
    )
    for first, last in spans:
        assert last - first <= ranges.GROUP_RANGES
        assert last - first == 1 or sum(s for _, s in asked[first:last]) <= ranges.GROUP_BYTES
