"""What is painted on the page, as arrays and numbers."""

import base64
import re
import time

import cv2
import numpy as np
from playwright.sync_api import Page

from pathray.slides.reader import Pixels

CANVAS = ".stage .openseadragon-canvas canvas"
SETTLED_S = 0.6
PATIENCE_S = 60.0


def painted(page: Page) -> Pixels:
    """RGB of the slide's canvas, uint8 (h, w, 3), as soon as it has come to rest.

    Without outlines, scale bar and navigator, which are other elements. Where nothing is
    painted it is black.
    """
    page.locator(".opening").wait_for(state="detached", timeout=PATIENCE_S * 1000)
    deadline = time.monotonic() + PATIENCE_S
    last, since = "", time.monotonic()
    while time.monotonic() < deadline:
        address = page.evaluate(f"document.querySelector('{CANVAS}')?.toDataURL() ?? ''")
        if address != last:
            last, since = address, time.monotonic()
        elif last and time.monotonic() - since > SETTLED_S:
            return picture(base64.b64decode(last.partition(",")[2]))
        page.wait_for_timeout(100)
    raise AssertionError("the slide did not come to rest")


def picture(data: bytes) -> Pixels:
    """RGB of a PNG or JPEG; transparent pixels are black."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded.shape[2] == 4:
        decoded = decoded[..., :3] * (decoded[..., 3:] > 0)
    return np.ascontiguousarray(decoded[..., ::-1])


def fitted(canvas: Pixels, width: int, height: int) -> Pixels:
    """The part of the canvas that a whole slide of this size fills, scaled to 600 wide."""
    scale = min(canvas.shape[1] / width, canvas.shape[0] / height)
    wide, high = width * scale, height * scale
    left, top = (canvas.shape[1] - wide) / 2, (canvas.shape[0] - high) / 2
    part = canvas[round(top) : round(top + high), round(left) : round(left + wide)]
    return cv2.resize(part, (600, round(600 * height / width)), interpolation=cv2.INTER_AREA)


def difference(one: Pixels, other: Pixels) -> float:
    """Mean difference in grey levels, with the finest detail smoothed away."""
    size = (one.shape[1], one.shape[0])
    other = cv2.resize(other, size, interpolation=cv2.INTER_AREA)
    smooth = [cv2.GaussianBlur(each, (0, 0), 2).astype(float) for each in (one, other)]
    return float(np.abs(smooth[0] - smooth[1]).mean())


def centre(page: Page) -> tuple[int, int]:
    """Which level-0 pixel the page says is in the middle."""
    x, y = re.findall(r"[\d,]+", page.locator(".place").inner_text().replace(", y", " y"))
    return int(x.replace(",", "")), int(y.replace(",", ""))


def microns_a_pixel(page: Page) -> float:
    """Microns of a screen pixel, by the scale bar."""
    number, unit = page.locator(".scale-length").inner_text().split()
    microns = float(number.replace(",", "")) * (1000 if unit == "mm" else 1)
    box = page.locator(".scale-bar").bounding_box()
    assert box is not None
    return microns / box["width"]
