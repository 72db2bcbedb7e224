"""A worker's tiles: the right ones, read by ranges, in bounded memory, with clear failures."""

import threading
from collections import deque
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from counted_store import CountedFileSystem
from written_shards import (
    SIDE,
    numbered_tile,
    numbers_of,
    write_shard,
    write_slides,
)

from pathray.errors import RequestError, SlideError
from pathray.pretraining import batches as room
from pathray.pretraining.batches import Batches, TileBatch
from pathray.pretraining.plan import Plan
from pathray.pretraining.rowgroups import RowGroups, find_row_groups
from pathray.tilestore import PNG, encode_image

SLIDES = [13, 40, 1, 27, 9, 60, 22]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_slides(tmp_path / "tiles", SLIDES)
    return tmp_path / "tiles"


@pytest.fixture
def groups(folder: Path) -> RowGroups:
    return find_row_groups(str(folder))


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """The ranges that are read through `counted://`: file name, first byte, byte after."""
    noted: list[tuple[str, int, int]] = []
    cat_file = CountedFileSystem.cat_file

    def noting(self: Any, path: str, start: int = 0, end: int = 0, **_: Any) -> Any:
        noted.append((path.rsplit("/", 1)[-1], start, end))
        return cat_file(self, path, start, end)

    monkeypatch.setattr(CountedFileSystem, "cat_file", noting)
    return noted


def read(plan: Plan, **how: Any) -> list[TileBatch]:
    with Batches(plan, threads=2, **how) as batches:
        return list(batches)


def expected(plan: Plan, step: int) -> list[int]:
    """The numbers of a batch's tiles: slides are numbered through in the order of names."""
    first = np.cumsum([0, *SLIDES])
    samples = plan.batch(step)
    return (first[samples.group] + samples.row).tolist()


def test_tiles_are_those_of_the_plan_pixel_by_pixel(groups: RowGroups) -> None:
    plan = Plan(groups, 32, 5, window_mb=0.05)
    assert plan.windows > 1
    for batch in read(plan, stop=20):
        assert batch.tiles.dtype == torch.uint8
        assert batch.tiles.shape == (32, SIDE, SIDE, 3)
        assert batch.index.tolist() == list(range(32))
        numbers = numbers_of(batch.tiles.numpy())
        assert numbers == expected(plan, batch.step)
        for tile, number in zip(batch.tiles.numpy(), numbers, strict=True):
            assert (tile == numbered_tile(number)).all()
        assert batch.last
        assert batch.waited >= 0
        assert not batch.lost


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("micro_batch", [None, 4, 7])
def test_workers_and_micro_batches_put_together_are_the_batch(
    groups: RowGroups, world: int, micro_batch: int | None
) -> None:
    plan = Plan(groups, 30, 5, window_mb=0.05)
    together: dict[int, dict[int, int]] = {step: {} for step in range(2, 12)}
    for rank in range(world):
        ends = 0
        for batch in read(plan, rank=rank, world=world, first=2, stop=12, micro_batch=micro_batch):
            assert len(batch.tiles) <= (micro_batch or 30)
            numbers = numbers_of(batch.tiles.numpy())
            together[batch.step] |= dict(zip(batch.index.tolist(), numbers, strict=True))
            ends += batch.last
        assert ends == 10
    for step, tiles in together.items():
        assert [tiles[i] for i in range(30)] == expected(plan, step)


def test_a_run_that_resumes_sees_what_an_undisturbed_one_sees(groups: RowGroups) -> None:
    plan = Plan(groups, 16, 1, window_mb=0.05)
    whole = read(plan, stop=40)
    resumed = read(Plan(groups, 16, 1, window_mb=0.05), first=23, stop=40)
    assert [batch.step for batch in resumed] == list(range(23, 40))
    for mine, theirs in zip(resumed, whole[23:], strict=True):
        assert torch.equal(mine.tiles, theirs.tiles)


def test_shards_are_read_from_any_store(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/pretraining-tiles", recursive=True)
    plan = Plan(find_row_groups("memory://pretraining-tiles"), 40, 0)
    try:
        tiles = read(plan, stop=1)[0].tiles
    finally:
        memory.rm("/pretraining-tiles", recursive=True)
    assert numbers_of(tiles.numpy()) == expected(plan, 0)


def test_fewer_tiles_than_a_batch_are_enough(tmp_path: Path) -> None:
    write_slides(tmp_path / "tiles", [2, 3])
    plan = Plan(find_row_groups(str(tmp_path / "tiles")), 12, 0)
    batches = [numbers_of(batch.tiles.numpy()) for batch in read(plan, stop=5)]
    assert np.bincount(np.concatenate(batches)).tolist() == [12] * 5


def test_only_the_images_that_are_needed_are_read_once_an_epoch(
    folder: Path, fetched: list[tuple[str, int, int]]
) -> None:
    groups = find_row_groups(f"counted://{folder}")
    assert len(fetched) == len(SLIDES)
    fetched.clear()
    plan = Plan(groups, groups.tiles, 0)
    assert len(read(plan, stop=1)) == 1
    wanted = zip(groups.uris, groups.start, groups.sizes, strict=True)
    # The footer follows the images, so that one range holds both; other columns lie before.
    assert sorted(fetched) == [(uri.rsplit("/", 1)[-1], a, b) for uri, a, b in wanted]
    assert groups.start.min() > 250


def test_a_worker_reads_its_part_of_the_row_groups(
    folder: Path, fetched: list[tuple[str, int, int]]
) -> None:
    groups = find_row_groups(f"counted://{folder}")
    plan = Plan(groups, groups.tiles, 0)
    fetched.clear()
    read(plan, rank=1, world=4, stop=1)
    assert {name for name, _, _ in fetched} == {
        groups.uris[group].rsplit("/", 1)[-1] for group in plan.batch(0, 1, 4).group
    }
    assert len({name for name, _, _ in fetched}) < len(SLIDES)


def test_compressed_images_that_are_held_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "READ_AHEAD_BYTES", 4000)
    write_slides(tmp_path / "tiles", [20] * 40)
    groups = find_row_groups(str(tmp_path / "tiles"))
    largest = int((groups.stop - groups.start).max())
    plan = Plan(groups, 16, 0, window_mb=groups.image_bytes / 8e6)
    assert plan.windows == 8
    held = []
    with Batches(plan, threads=2, stop=150) as batches:
        for _ in batches:
            images = [f.result() for f in list(batches._images.values())]
            held.append(sum(len(data) for rows in images for data in list(rows.values())))
            assert batches.held_bytes <= plan.window_bytes + 4000 + largest
            assert len(batches._images) <= 3 * len(groups) / plan.windows + 3
    assert max(held) <= plan.window_bytes + 4000 + largest
    assert np.mean(held) > plan.window_bytes / 2
    assert abs(batches.held_bytes) < 1


def test_a_tile_that_cannot_be_decoded_is_replaced_by_the_next_and_told(tmp_path: Path) -> None:
    images = [encode_image(numbered_tile(i), PNG) for i in range(6)]
    images[3] = images[3][:20]
    images[4] = b""
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    path = write_shard(tiles, "bad", images)
    plan = Plan(find_row_groups(str(tiles)), 6, 0)
    for world in (1, 2, 3):
        seen: list[int] = []
        lost: list[str] = []
        for rank in range(world):
            for batch in read(plan, rank=rank, world=world, stop=1):
                seen += numbers_of(batch.tiles.numpy())
                lost += batch.lost
        assert sorted(seen) == [0, 1, 2, 5, 5, 5]
        assert sorted(lost) == [f"{path}, row group 0, row {row}" for row in (3, 4)]


def test_a_row_group_without_a_sound_tile_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    path = write_shard(tmp_path / "tiles", "bad", [b"x", b"y"])
    with pytest.raises(SlideError, match="no tile of the row group can be decoded") as raised:
        read(Plan(find_row_groups(str(tmp_path / "tiles")), 2, 0), stop=1)
    assert str(path) in str(raised.value)


def test_tiles_of_another_size_than_the_shard_says_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    write_shard(tmp_path / "tiles", "a", [encode_image(numbered_tile(0, 9), PNG)])
    with pytest.raises(SlideError, match="row 0 is 9 x 9 pixels, not 8 x 8"):
        read(Plan(find_row_groups(str(tmp_path / "tiles")), 1, 0), stop=1)


@pytest.mark.parametrize("damage", ["gone", "shorter", "rewritten", "scrambled"])
def test_a_shard_that_is_damaged_later_stops_the_run_and_is_named(
    folder: Path, groups: RowGroups, damage: str
) -> None:
    path = folder / "slide-005-00000.parquet"
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "shorter":
        path.write_bytes(data[:-1])
    elif damage == "rewritten":
        other = pq.read_table(path).slice(0, 55)
        pq.write_table(other, path, compression="none")
        path.write_bytes(path.read_bytes()[: len(data)].rjust(len(data), b"x"))
    else:
        start = int(groups.start[groups.uris.index(str(path))])
        path.write_bytes(data[:start] + bytes(200) + data[start + 200 :])
    before = threading.active_count()
    batches = Batches(Plan(groups, 50, 0), threads=2, stop=10)
    with pytest.raises(SlideError, match=r"slide-005-00000\.parquet"):
        deque(batches)
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(batches)


def test_a_store_that_fails_now_and_then_is_asked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = find_row_groups(f"counted://{folder}")
    cat_file, failures = CountedFileSystem.cat_file, iter([True, False, True, True] + [False] * 999)

    def failing(self: Any, path: str, start: int = 0, end: int = 0, **_: Any) -> Any:
        if next(failures):
            raise ConnectionResetError("the store hung up")
        return cat_file(self, path, start, end)

    monkeypatch.setattr(CountedFileSystem, "cat_file", failing)
    plan = Plan(groups, 50, 0)
    assert numbers_of(read(plan, stop=1)[0].tiles.numpy()) == expected(plan, 0)


def test_no_thread_is_left_when_it_is_closed(groups: RowGroups) -> None:
    before = threading.active_count()
    with Batches(Plan(groups, 16, 0), threads=3) as batches:
        next(batches)
        assert threading.active_count() > before
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(batches)


def test_tiles_of_several_sizes_are_refused(folder: Path) -> None:
    write_shard(folder, "wide", [encode_image(numbered_tile(0, 9), PNG)], side=9)
    with pytest.raises(RequestError, match=r"tiles of several sizes.*has 8 pixels, .*wide.* 9"):
        find_row_groups(str(folder))


def test_a_folder_without_tiles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no tiles"):
        find_row_groups(str(tmp_path))
    write_slides(tmp_path, [0])
    with pytest.raises(RequestError, match="holds no tiles"):
        find_row_groups(str(tmp_path))


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"x" * 30_000, "cut"])
def test_a_damaged_shard_is_named_at_the_start(folder: Path, damage: bytes | str) -> None:
    path = folder / "slide-002-00000.parquet"
    path.write_bytes(damage if isinstance(damage, bytes) else path.read_bytes()[:-9])
    with pytest.raises(SlideError, match=r"slide-002-00000\.parquet is damaged"):
        find_row_groups(str(folder))


def test_slides_with_shards_missing_are_told_and_what_is_there_is_used(folder: Path) -> None:
    write_shard(folder, "half", [encode_image(numbered_tile(0), PNG)], piece=1, pieces=3)
    groups = find_row_groups(str(folder))
    assert groups.incomplete == ("half",)
    assert groups.tiles == sum(SLIDES) + 1


def test_the_index_is_kept_as_it_was(folder: Path) -> None:
    write_shard(folder, "half", [encode_image(numbered_tile(0), PNG)], piece=1, pieces=3)
    groups = find_row_groups(str(folder))
    kept = RowGroups.from_bytes(groups.to_bytes())
    for name in groups.__dataclass_fields__:
        assert np.array_equal(getattr(kept, name), getattr(groups, name)), name
    assert kept.slide_ids() == groups.slide_ids()
    assert kept.to_bytes() == groups.to_bytes()


def test_shards_of_several_row_groups_and_long_footers_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pathray.tilestore.ROW_GROUP_BYTES", 66_000)
    monkeypatch.setattr("pathray.pretraining.rowgroups.FOOTER_BYTES", 100)
    write_slides(tmp_path / "tiles", [50, 30])
    groups = find_row_groups(str(tmp_path / "tiles"))
    assert len(groups) > 20
    seen = numbers_of(read(Plan(groups, 80, 0), stop=1)[0].tiles.numpy())
    assert sorted(seen) == list(range(80))
