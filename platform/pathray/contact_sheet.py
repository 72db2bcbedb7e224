"""A contact sheet: many tiles in one picture, to see at a glance what was cut."""

from collections.abc import Sequence

import numpy as np

from pathray.errors import RequestError
from pathray.slides.reader import Pixels

GAP = 4
"""White pixels between the tiles and around them."""


def draw_contact_sheet(tiles: Sequence[Pixels], columns: int, side: int = 112) -> bytes:
    """PNG of `arranged` tiles."""
    import cv2

    sheet = arranged(tiles, columns, side)
    _, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return bytes(png)


def arranged(tiles: Sequence[Pixels], columns: int, side: int = 112) -> Pixels:
    """The tiles row by row from the top left, `columns` in a row, as one uint8 RGB picture.

    `tiles` are uint8 (h, w, 3) RGB of any sizes; each is fitted into a square of `side`
    pixels with its shape kept. Raises RequestError when there are no tiles.
    """
    import cv2

    if not tiles:
        raise RequestError("a contact sheet needs at least one tile")
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    pitch = side + GAP
    sheet = np.full((rows * pitch + GAP, columns * pitch + GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        shrink = side / max(tile.shape[:2])
        height, width = (max(1, round(length * shrink)) for length in tile.shape[:2])
        how = cv2.INTER_AREA if shrink < 1 else cv2.INTER_CUBIC
        top = GAP + row * pitch + (side - height) // 2
        left = GAP + column * pitch + (side - width) // 2
        sheet[top : top + height, left : left + width] = cv2.resize(
            tile, (width, height), interpolation=how
        )
    return sheet
