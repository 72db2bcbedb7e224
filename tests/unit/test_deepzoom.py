"""Deep zoom squares cover a slide, at every level, with the slide's own pixels."""

import cv2
import numpy as np
import pytest
from drawn_slides import DrawnSlide
from hypothesis import given
from hypothesis import strategies as st

from pathray.slides import deepzoom
from pathray.slides.deepzoom import SQUARE, DeepZoom, read_square, square_of_thumbnail


def noise(width: int, height: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (height // 50 + 1, width // 50 + 1, 3))
    return cv2.resize(coarse.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


@given(st.integers(1, 200_000), st.integers(1, 200_000))
def test_level_zero_is_one_pixel_and_the_last_is_the_slide(width: int, height: int) -> None:
    zoom = DeepZoom(width, height)
    assert zoom.size(0) == (1, 1)
    assert zoom.size(zoom.last) == (width, height)
    assert zoom.last == max(0, int(np.ceil(np.log2(max(width, height)))))


@given(st.integers(1, 3000), st.integers(1, 3000), st.data())
def test_the_squares_of_a_level_cover_it_once(width: int, height: int, data: st.DataObject) -> None:
    zoom = DeepZoom(width, height)
    level = data.draw(st.integers(0, zoom.last))
    wide, high = zoom.size(level)
    covered = np.zeros((high, wide), np.int8)
    for column in range(-(-wide // SQUARE)):
        for row in range(-(-high // SQUARE)):
            x, y, w, h = zoom.box(level, column, row)
            covered[y : y + h, x : x + w] += 1
    assert (covered == 1).all()
    with pytest.raises(LookupError):
        zoom.box(level, -(-wide // SQUARE), 0)


def test_a_square_is_the_slides_pixels_reduced() -> None:
    pixels = noise(1500, 1100)
    reader = DrawnSlide(pixels)
    zoom = DeepZoom(1500, 1100)
    full = read_square(reader, zoom.last, 2, 1)
    assert full is not None
    np.testing.assert_array_equal(full, pixels[256:512, 512:768])
    half = read_square(reader, zoom.last - 1, 2, 1)
    assert half is not None
    expected = cv2.resize(pixels[512:1024, 1024:1500], (238, 256), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(half, expected)


def test_a_slide_without_small_levels_is_not_read_for_its_overview(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deepzoom, "MOST_PIXELS", 512 * 512)
    pixels = noise(1500, 1100)
    reader = DrawnSlide(pixels)
    zoom = DeepZoom(1500, 1100)
    assert read_square(reader, zoom.last - 2, 0, 0) is None
    assert reader.largest_read == 0
    small = cv2.resize(pixels, (375, 275), interpolation=cv2.INTER_AREA)
    square = square_of_thumbnail(small, zoom, zoom.last - 2, 1, 1)
    np.testing.assert_array_equal(square, small[256:, 256:])


def test_the_descriptor_names_size_and_format() -> None:
    told = DeepZoom(1500, 1100).descriptor("jpeg")
    for part in ('Format="jpeg"', 'TileSize="256"', 'Overlap="0"', 'Width="1500"', 'Height="1100"'):
        assert part in told
