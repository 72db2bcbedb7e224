"""Neighbouring pieces read in one sweep: the same tiles, less work, every byte counted."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_slides import write_slide

from jobs.items import Piece
from jobs.sweep import LONGEST_RUN, RUNS_A_SLIDE, Sweep, runs_of
from pathray.cohort import Slide
from pathray.slides.tiff import TiffReader
from pathray.storage import Source
from pathray.tiling import Plan, Tiling, cut_tiles, plan_tiles


def pieces_of(plan: Plan, length: int, existing: tuple[int, ...] = ()) -> list[Piece]:
    starts = range(0, len(plan.x), length)
    return [
        Piece(
            Slide("a", "a.tif"),
            Source(1, "v"),
            {},
            plan.part(start, start + length),
            index,
            len(starts),
            len(plan.x),
            existing=index in existing,
        )
        for index, start in enumerate(starts)
    ]


@pytest.fixture
def slide(tmp_path: Path) -> str:
    return str(write_slide(tmp_path / "slide.tif", "jpeg 4:4:4"))


@pytest.fixture
def plan(slide: str) -> Plan:
    tiling = Tiling(tile_size=60, mpp="native", tissue="all", min_tissue=0.0, assume_mpp=0.25)
    return plan_tiles(TiffReader.open(slide), "a", tiling)[0]


@given(st.integers(1, 500))
def test_runs_hold_every_piece_once_in_order_and_spread_small_slides(n: int) -> None:
    plan = Plan(None, None, 1, 1, "r", *(np.arange(n),) * 3)  # type: ignore[arg-type]
    pieces = pieces_of(plan, 1)
    runs = [run.pieces for run in runs_of(pieces)]
    assert [piece for run in runs for piece in run] == pieces
    assert max(map(len, runs)) <= LONGEST_RUN
    assert len(runs) >= min(n, RUNS_A_SLIDE // 2)


@pytest.mark.parametrize("existing", [(), (0,), (1, 2), (0, 1, 2, 3)])
def test_a_sweep_gives_each_piece_the_tiles_it_would_have_read_alone(
    slide: str, plan: Plan, existing: tuple[int, ...]
) -> None:
    pieces = pieces_of(plan, 30, existing)
    assert len(pieces) == 4
    sweep = Sweep(TiffReader.open(slide), pieces)
    alone = TiffReader.open(slide)
    for piece in pieces:
        if not piece.existing:
            tiles = [tile.copy() for tile in sweep.tiles(piece) if tile is not None]
            for tile, expected in zip(tiles, cut_tiles(alone, piece.plan), strict=True):
                assert np.array_equal(tile, expected)


def test_a_sweep_counts_every_byte_once_and_fetches_shared_tiles_once(
    slide: str, plan: Plan
) -> None:
    pieces = pieces_of(plan, 30)
    reader = TiffReader.open(slide)
    sweep = Sweep(reader, pieces)
    counts = []
    for piece in pieces:
        list(sweep.tiles(piece))
        counts.append(sweep.new_bytes())
    assert sum(counts) == reader.bytes_read
    apart = TiffReader.open(slide)
    for piece in pieces:
        list(cut_tiles(apart, piece.plan))
    assert reader.bytes_read < apart.bytes_read
