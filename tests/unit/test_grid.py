"""Which tiles a slide is cut into: pure geometry."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathray.errors import SlideError
from pathray.slides.grid import (
    PIECE_PIXELS,
    Sampling,
    choose_sampling,
    lay_grid,
    sample_tiles,
    split_into_pieces,
)
from pathray.slides.reader import SlideInfo

SIDES = st.integers(1, 3000)
NATURAL = st.floats(0.1, 1.5)


def slide(*downsamples: float, width: int = 40_000, height: int = 30_000) -> SlideInfo:
    """A slide with levels of these downsamples."""
    sizes = tuple((round(width / d), round(height / d)) for d in downsamples)
    bounds = (0, 0, width, height)
    return SlideInfo(width, height, sizes, downsamples, bounds, 0.25, "test")


def sampled(info: SlideInfo, slide_mpp: float, mpp: float, **how: object) -> Sampling:
    return choose_sampling(info, slide_mpp, tile_size=224, mpp=mpp, **how)  # type: ignore[arg-type]


def test_a_level_within_the_tolerance_is_cut_unresampled_and_its_true_mpp_is_recorded() -> None:
    sampling = sampled(slide(1.0, 4.0), slide_mpp=0.263, mpp=0.25)
    assert not sampling.resampled
    assert (sampling.level, sampling.side0, sampling.mpp) == (0, 224, 0.263)


def test_a_reduced_level_within_the_tolerance_gives_tiles_of_its_own_pixels() -> None:
    sampling = sampled(slide(1.0, 4.0003), slide_mpp=0.25, mpp=1.0)
    assert not sampling.resampled
    assert (sampling.level, sampling.side0) == (1, round(224 * 4.0003))
    assert sampling.mpp == pytest.approx(0.25 * 4.0003)


def test_of_two_levels_within_the_tolerance_the_nearer_is_cut() -> None:
    assert sampled(slide(1.0, 1.9, 2.05), slide_mpp=0.25, mpp=0.5, tolerance=0.3).level == 2


def test_between_levels_the_nearest_finer_one_is_reduced() -> None:
    sampling = sampled(slide(1.0, 2.0, 8.0), slide_mpp=0.25, mpp=1.0)
    assert (sampling.level, sampling.side0, sampling.read_side) == (1, 896, 448)
    assert sampling.mpp == pytest.approx(1.0)


def test_native_tiles_are_level_0_whatever_the_slide_says() -> None:
    sampling = choose_sampling(slide(1.0, 4.0), 0.263, tile_size=256, mpp="native")
    assert (sampling.level, sampling.side0, sampling.read_side) == (0, 256, 256)
    assert sampling.mpp == 0.263


def test_a_slide_coarser_than_asked_fails_and_names_the_cure() -> None:
    with pytest.raises(SlideError, match=r"coarser than the asked 0\.25 mpp.*--allow-upsample"):
        sampled(slide(1.0, 4.0), slide_mpp=0.5, mpp=0.25)


def test_a_slide_coarser_than_asked_is_enlarged_when_told_so() -> None:
    sampling = sampled(slide(1.0, 4.0), slide_mpp=0.5, mpp=0.25, allow_upsample=True)
    assert (sampling.level, sampling.side0, sampling.read_side) == (0, 112, 112)
    assert sampling.mpp == pytest.approx(0.25)


@given(
    levels=st.lists(st.floats(1.5, 40.0), max_size=4),
    slide_mpp=NATURAL,
    mpp=NATURAL,
    tolerance=st.floats(0.0, 0.3),
    tile=st.integers(32, 1024),
)
def test_sampling_keeps_the_contract_of_space(
    levels: list[float], slide_mpp: float, mpp: float, tolerance: float, tile: int
) -> None:
    downsamples = (1.0, *sorted(levels))
    off = [abs(slide_mpp * d / mpp - 1) for d in downsamples]
    if any(abs(o - tolerance) < 1e-9 for o in off):
        return  # on the edge both are right
    info = slide(*downsamples)
    if min(off) > tolerance and slide_mpp > mpp:
        with pytest.raises(SlideError, match="coarser"):
            choose_sampling(info, slide_mpp, tile_size=tile, mpp=mpp, tolerance=tolerance)
        return
    sampling = choose_sampling(info, slide_mpp, tile_size=tile, mpp=mpp, tolerance=tolerance)
    d = downsamples[sampling.level]
    assert sampling.downsample == d
    if min(off) < tolerance:
        assert off[sampling.level] == min(off)
        assert sampling.side0 == round(tile * d)
        assert not sampling.resampled
        assert sampling.mpp == pytest.approx(slide_mpp * d)
    else:
        assert sampling.side0 == round(tile * mpp / slide_mpp)
        assert d == max(each for each in downsamples if each <= mpp / slide_mpp)
        assert sampling.read_side == round(sampling.side0 / d)
        assert sampling.mpp == pytest.approx(mpp, rel=0.5 / tile)


@given(
    left=st.integers(0, 5000),
    top=st.integers(0, 5000),
    width=st.integers(0, 20_000),
    height=st.integers(0, 20_000),
    side0=st.integers(64, 3000),
    stride0=st.integers(64, 3000),
)
def test_the_grid_holds_every_whole_tile_inside_the_bounds_in_y_x_order(
    left: int, top: int, width: int, height: int, side0: int, stride0: int
) -> None:
    x, y = lay_grid((left, top, width, height), Sampling(0, 1, side0, stride0, side0, side0, 1))
    across = (width - side0) // stride0 + 1 if width >= side0 else 0
    down = (height - side0) // stride0 + 1 if height >= side0 else 0
    assert len(x) == len(y) == across * down
    assert x.dtype == y.dtype == np.int32
    if len(x) == 0:
        return
    assert (x[0], y[0]) == (left, top)
    assert x.min() >= left
    assert y.min() >= top
    assert x.max() + side0 <= left + width
    assert y.max() + side0 <= top + height
    assert not ((x - left) % stride0).any()
    assert not ((y - top) % stride0).any()
    assert (np.lexsort((x, y)) == np.arange(len(x))).all()


def test_a_stride_is_in_pixels_of_the_finished_tile() -> None:
    sampling = sampled(slide(1.0, 4.0), slide_mpp=0.25, mpp=1.0, stride=112)
    assert (sampling.side0, sampling.stride0) == (896, 448)


def test_the_grid_is_laid_from_the_bounds_and_not_from_the_corner() -> None:
    x, y = lay_grid((1001, 502, 448, 224), Sampling(0, 1, 224, 224, 224, 224, 0.25))
    assert x.tolist() == [1001, 1225]
    assert y.tolist() == [502, 502]


@given(x=SIDES, y=SIDES, d=st.floats(1.0, 64.0))
def test_a_corner_in_its_level_is_the_rounded_quotient(x: int, y: int, d: float) -> None:
    sampling = Sampling(1, d, 224, 224, 224, 224, 0.25)
    origins = sampling.level_origins(np.array([x], np.int32), np.array([y], np.int32))
    assert origins.tolist() == [[round(x / d), round(y / d)]]


@given(n=st.integers(0, 5000), wanted=st.integers(1, 6000), seed=st.integers(0, 2**40))
def test_a_sample_is_sorted_without_repeats_and_the_same_every_time(
    n: int, wanted: int, seed: int
) -> None:
    chosen = sample_tiles(n, wanted, "slide", seed)
    assert len(chosen) == min(n, wanted)
    assert (np.diff(chosen) > 0).all()
    assert ((chosen >= 0) & (chosen < max(n, 1))).all()
    assert (chosen == sample_tiles(n, wanted, "slide", seed)).all()


def test_a_sample_depends_on_the_slide_and_on_the_seed() -> None:
    chosen = sample_tiles(10_000, 50, "a", 0)
    assert (chosen != sample_tiles(10_000, 50, "b", 0)).any()
    assert (chosen != sample_tiles(10_000, 50, "a", 1)).any()


def test_a_sample_does_not_depend_on_what_was_sampled_before() -> None:
    alone = sample_tiles(10_000, 50, "a", 7)
    sample_tiles(500, 3, "other", 7)
    np.random.seed(1)
    assert (alone == sample_tiles(10_000, 50, "a", 7)).all()


@given(n=st.integers(0, 200_000), tile=st.integers(16, 8192))
def test_pieces_partition_the_tiles_and_are_of_bounded_pixels(n: int, tile: int) -> None:
    pieces = split_into_pieces(n, tile)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == n
    assert all(one[1] == other[0] for one, other in pairwise(pieces))
    lengths = {stop - start for start, stop in pieces[:-1]}
    assert len(lengths) <= 1
    assert all((stop - start) * tile**2 <= max(PIECE_PIXELS, tile**2) for start, stop in pieces)


def test_a_slide_without_tiles_is_one_piece_of_none() -> None:
    assert split_into_pieces(0, 224) == [(0, 0)]
