"""A heatmap lies where its tiles lie, and nowhere else."""

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pathray.heatmap import Heatmap, attention_ranks, encode_png

X = np.array([100, 200, 100], np.int32)
Y = np.array([50, 50, 150], np.int32)
VALUES = np.array([0.0, 1.0, 0.5], np.float32)
MAP = Heatmap(X, Y, VALUES, side0=100, stride0=100, width=400, height=300)


def test_a_tile_is_drawn_where_it_lies_and_glass_is_transparent() -> None:
    picture = MAP.draw((0, 0, 400, 300), (400, 300))
    assert picture.shape == (300, 400, 4)
    drawn = picture[..., 3] == 255
    expected = np.zeros((300, 400), bool)
    for x, y in zip(X, Y, strict=True):
        expected[y : y + 100, x : x + 100] = True
    np.testing.assert_array_equal(drawn, expected)
    assert (picture[~drawn] == 0).all()


def test_high_is_red_and_low_is_blue() -> None:
    picture = MAP.draw((0, 0, 400, 300), (400, 300)).astype(int)
    low, high = picture[100, 150], picture[100, 250]
    assert high[0] > high[2]
    assert low[2] > low[0]


@given(st.integers(0, 300), st.integers(0, 200), st.integers(1, 100))
def test_a_part_is_cut_from_the_whole(x: int, y: int, side: int) -> None:
    whole = MAP.draw((0, 0, 400, 300), (400, 300))
    part = MAP.draw((x, y, side, side), (side, side))
    np.testing.assert_array_equal(part, whole[y : y + side, x : x + side])


def test_overlapping_tiles_show_their_mean() -> None:
    x = np.array([0, 50], np.int32)
    overlap = Heatmap(x, np.zeros(2, np.int32), np.array([0, 1], np.float32), 100, 50, 150, 100)
    cells = overlap._cells[1, 1:4]
    assert cells.tolist() == [0, 0.5, 1]


def test_a_whole_picture_is_bounded_and_has_the_slides_shape() -> None:
    large = Heatmap(X, Y, VALUES, 100, 100, width=120_000, height=60_000)
    assert large.picture().shape[:2] == (1024, 2048)
    assert MAP.picture().shape[0] <= 300


@given(arrays.arrays(np.float32, st.integers(1, 50), elements=st.floats(0, 1, width=32)))
def test_ranks_keep_order_and_fill_zero_to_one(attention: np.ndarray) -> None:
    ranks = attention_ranks(attention)
    assert ((ranks >= 0) & (ranks <= 1)).all()
    order = np.argsort(attention)
    assert (np.diff(ranks[order]) >= 0).all()
    if len(set(attention.tolist())) == len(attention) > 1:
        assert ranks.min() == 0
        assert ranks.max() == 1


def test_a_picture_is_written_as_png() -> None:
    picture = MAP.draw((0, 0, 400, 300), (40, 30))
    read = cv2.imdecode(np.frombuffer(encode_png(picture), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., [2, 1, 0, 3]], picture)
