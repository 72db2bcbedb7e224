"""The preview shows the slide, its tissue and the kept tiles, and nothing where there is none."""

import cv2
import numpy as np
from drawn_slides import EOSIN, DrawnSlide, paint, plain
from numpy.typing import NDArray

from pathray.slides.preview import LONGEST_SIDE, draw_preview, preview_thumbnail
from pathray.slides.tissue import TissueMask, find_tissue

EMPTY = TissueMask(np.zeros((10, 10), np.bool_), (160.0, 160.0))


def decoded(png: bytes) -> NDArray[np.int64]:
    assert png.startswith(b"\x89PNG")
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def changed(thumbnail: np.ndarray, picture: np.ndarray) -> NDArray[np.bool_]:
    return (picture[: thumbnail.shape[0]] != thumbnail).any(axis=2)


def test_without_tissue_and_tiles_the_picture_is_the_thumbnail() -> None:
    thumbnail = plain(300, 200)
    picture = decoded(draw_preview(thumbnail, (4.0, 4.0), EMPTY, [], [], 224))
    np.testing.assert_array_equal(picture, thumbnail)


def test_tiles_are_tinted_where_they_lie_and_nowhere_else() -> None:
    thumbnail = plain(300, 200)
    x, y = np.array([400, 624]), np.array([240, 240])
    touched = changed(thumbnail, decoded(draw_preview(thumbnail, (4, 4), EMPTY, x, y, 224)))
    assert touched[61:115, 101:211].mean() > 0.99
    touched[60:117, 100:213] = False
    assert not touched.any()


def test_tissue_stays_visible_under_the_tiles() -> None:
    thumbnail = plain(300, 200, EOSIN)
    picture = decoded(draw_preview(thumbnail, (4, 4), EMPTY, [400], [240], 224))
    inside = picture[65:110, 105:150].reshape(-1, 3).mean(axis=0)
    assert np.abs(inside - EOSIN).max() < 30


def test_overlapping_tiles_are_not_tinted_twice() -> None:
    thumbnail = np.full((200, 300, 3), 200, np.uint8)
    once = decoded(draw_preview(thumbnail, (40, 40), EMPTY, [4000], [4000], 224))
    twice = decoded(draw_preview(thumbnail, (40, 40), EMPTY, [4000, 4000], [4000, 4000], 224))
    np.testing.assert_array_equal(once, twice)


def test_many_small_tiles_leave_the_picture_readable() -> None:
    thumbnail = plain(1200, 1200, EOSIN)
    x, y = (v.ravel() for v in np.meshgrid(np.arange(150) * 224, np.arange(150) * 224))
    picture = decoded(draw_preview(thumbnail, (30.0, 30.0), EMPTY, x, y, 224))
    assert np.abs(picture[:1100, :1100].mean(axis=(0, 1)) - EOSIN).max() < 50


def test_the_outline_follows_the_tissue() -> None:
    thumbnail = plain(400, 400)
    pixels = np.zeros((40, 40), np.bool_)
    pixels[10:30, 10:30] = True
    picture = decoded(draw_preview(thumbnail, (4, 4), TissueMask(pixels, (40, 40)), [], [], 224))
    rows, columns = np.nonzero(changed(thumbnail, picture))
    assert 95 <= rows.min() <= 106
    assert 294 <= rows.max() <= 305
    assert 95 <= columns.min() <= 106
    assert 294 <= columns.max() <= 305
    assert not changed(thumbnail, picture)[120:280, 120:280].any()


def test_a_caption_stands_below_the_picture_and_fits() -> None:
    thumbnail = plain(200, 150)
    picture = decoded(draw_preview(thumbnail, (4, 4), EMPTY, [], [], 224, "slide " * 30))
    np.testing.assert_array_equal(picture[:150], thumbnail)
    strip = picture[150:]
    assert strip.shape[1] == 200
    assert strip.min() < 150
    assert strip[:, -8:].min() > 240


def test_a_real_sized_slide_is_drawn_at_the_longest_side() -> None:
    pixels = plain(3500, 2100)
    paint(pixels, 1000, 500, 1200, 1000, EOSIN)
    slide = DrawnSlide(pixels)
    thumbnail, mask = preview_thumbnail(slide), find_tissue(slide)
    png = draw_preview(thumbnail.pixels, thumbnail.scale, mask, [1100], [600], 224, "one tile")
    height, width = decoded(png).shape[:2]
    assert width == LONGEST_SIDE
    assert abs(height - 36 - LONGEST_SIDE * 2100 / 3500) <= 1
