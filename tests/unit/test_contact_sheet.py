"""A contact sheet shows every tile once, in order."""

import cv2
import numpy as np
import pytest
from drawn_slides import plain

from pathray.contact_sheet import GAP, draw_contact_sheet
from pathray.errors import RequestError

COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200)]


def decoded(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_tiles_stand_row_by_row_in_their_order() -> None:
    sheet = decoded(draw_contact_sheet([plain(224, 224, c) for c in COLOURS], 3, side=56))
    assert sheet.shape == (2 * (56 + GAP) + GAP, 3 * (56 + GAP) + GAP, 3)
    for index, colour in enumerate(COLOURS):
        row, column = divmod(index, 3)
        centre = sheet[GAP + row * 60 + 28, GAP + column * 60 + 28].astype(int)
        assert np.abs(centre - colour).max() < 8
    assert (sheet[GAP + 60 :, GAP + 2 * 60 :] == 255).all()


def test_a_tile_that_is_not_square_keeps_its_shape() -> None:
    sheet = decoded(draw_contact_sheet([plain(200, 100, COLOURS[0])], 4, side=80))
    inside = (sheet != 255).any(axis=2)
    assert inside.sum() == 80 * 40


def test_no_tiles_make_no_sheet() -> None:
    with pytest.raises(RequestError, match="at least one tile"):
        draw_contact_sheet([], 4)
