"""Drawing an invented H&E slide: stroma, glands and nuclei, stained by Beer-Lambert.

It serves the demo and the tests where no real slide may be shipped. Two maps are drawn, the
amounts of haematoxylin and of eosin, and light is passed through both, so that colours mix as
stains do. Everything is a pure function of the generator it is given.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pathray.slides.reader import Pixels

MPP = 0.5
HAEMATOXYLIN = np.array([0.62, 0.70, 0.30])
"""Absorbance of red, green, blue per unit of stain, close to Ruifrok & Johnston 2001."""
EOSIN = np.array([0.14, 0.86, 0.36])
"""Pinker than Ruifrok & Johnston's, as scanners with sRGB output show it."""
GLASS = np.array([243.0, 242.0, 245.0])
INK = {"blue": (44, 82, 168), "green": (24, 128, 84), "black": (28, 27, 32)}
_UNIT = 90.0
"""Steps of a stain map per unit of absorbance."""

StainMap = NDArray[np.uint8]


@dataclass(frozen=True)
class SlideRecipe:
    """What a synthetic slide shows.

    `density` is nuclei per mm² of tissue outside glands, `gland_share` how much of the tissue
    is glands (0..1), `tissue_share` roughly how much of the slide is tissue, `pen` the colour
    of a pen mark on the glass (a key of INK) or None.
    """

    width: int
    height: int
    density: float
    gland_share: float
    tissue_share: float = 0.55
    pen: str | None = None


def draw_slide(recipe: SlideRecipe, rng: np.random.Generator) -> tuple[Pixels, NDArray[np.bool_]]:
    """The slide at 0.5 µm a pixel, uint8 (height, width, 3) RGB, and its tissue, bool."""
    size = (recipe.width, recipe.height)
    tissue = _tissue_shape(size, recipe.tissue_share, rng)
    eosin, haematoxylin = _stroma(size, rng)
    lumina = np.zeros_like(tissue)
    _glands(recipe, tissue, lumina, eosin, haematoxylin, rng)
    _scattered_nuclei(recipe.density, tissue & ~lumina, haematoxylin, rng)
    solid = _softened(tissue & ~lumina)
    grain = _grain(size, rng)
    eosin = cv2.multiply(cv2.multiply(eosin, grain, scale=1 / 128), solid, scale=1 / 255)
    haematoxylin = cv2.multiply(haematoxylin, solid, scale=1 / 255)
    haematoxylin = cv2.GaussianBlur(cv2.multiply(haematoxylin, grain, scale=1 / 128), (3, 3), 0.7)
    pixels = _stained(eosin, haematoxylin, grain, strength=rng.uniform(0.85, 1.15))
    if recipe.pen:
        _pen_mark(pixels, recipe.pen, rng)
    return pixels, tissue & ~lumina


def smooth_noise(
    size: tuple[int, int], grain: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Smooth noise of unit deviation, float32 (height, width), with features of `grain` pixels."""
    width, height = size
    coarse = rng.standard_normal((height // grain + 3, width // grain + 3), np.float32)
    noise: NDArray[np.float32] = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return noise / max(float(noise.std()), 1e-6)


def _tissue_shape(
    size: tuple[int, int], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """One or two ragged sections with a few tears, kept off the slide's border."""
    width, height = size[0] // 8, size[1] // 8
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    inside = 1.0 - 1.5 * np.maximum(np.abs(x), np.abs(y)) ** 4 - 0.8 * (x * x + y * y)
    noise = smooth_noise((width, height), 90, rng) + 0.35 * smooth_noise((width, height), 22, rng)
    ragged = inside + 0.45 * noise + 0.05 * smooth_noise((width, height), 5, rng)
    ragged[np.maximum(np.abs(x), np.abs(y)) > 0.95] = -9
    shape = ragged > np.quantile(ragged, 1 - share)
    bend = smooth_noise((width, height), 80, rng) + 0.2 * smooth_noise((width, height), 9, rng)
    tears = (np.abs(bend) < 0.012) & (smooth_noise((width, height), 40, rng) > 0.4)
    whole = cv2.resize((shape & ~tears).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    edge = cv2.resize(smooth_noise((size[0] // 2, size[1] // 2), 6, rng), size)
    return (whole + 0.12 * edge) > 0.5


def _stroma(size: tuple[int, int], rng: np.random.Generator) -> tuple[StainMap, StainMap]:
    """Eosin and haematoxylin of fibrous tissue: wavy bundles of changing direction."""
    half = (size[0] // 2, size[1] // 2)
    rows = np.arange(half[1], dtype=np.float32)[:, None]
    columns = np.arange(half[0], dtype=np.float32)[None]
    bend = smooth_noise(half, 260, rng) * 130 + smooth_noise(half, 45, rng) * 9
    angle = rng.uniform(0, np.pi)
    across = rows * np.cos(angle) + columns * np.sin(angle) + bend
    fibres = np.sin(across * (2 * np.pi / 11)) * 9 + np.sin(across * (2 * np.pi / 6.3)) * 6
    fibres *= 0.5 + 0.5 * smooth_noise(half, 30, rng)
    eosin = 33 + fibres * 0.8 + smooth_noise(half, 150, rng) * 5 + smooth_noise(half, 12, rng) * 3
    blue = 7 + smooth_noise(half, 200, rng) * 2 + smooth_noise(half, 9, rng) * 1.5
    return _enlarged(eosin, size), _enlarged(blue, size)


def _enlarged(stain: NDArray[np.float32], size: tuple[int, int]) -> StainMap:
    clipped = np.clip(stain, 0, 255).astype(np.uint8)
    enlarged: StainMap = cv2.resize(clipped, size, interpolation=cv2.INTER_LINEAR)
    return enlarged


def _glands(
    recipe: SlideRecipe,
    tissue: NDArray[np.bool_],
    lumina: NDArray[np.bool_],
    eosin: StainMap,
    haematoxylin: StainMap,
    rng: np.random.Generator,
) -> None:
    """Round glands: a white lumen, pale cytoplasm, nuclei in a row along the outer border."""
    wanted = recipe.gland_share * tissue.sum() / (np.pi * 95**2)
    sprites = _nucleus_sprites(rng, length=9.5, width=6.0)
    open_lumen = lumina.view(np.uint8)
    for x, y in _spread_points(tissue, wanted, 215, rng):
        a, b = rng.uniform(65, 110), rng.uniform(55, 85)
        turn = rng.uniform(0, 180)
        lumen = rng.uniform(0.25, 0.55)
        cv2.ellipse(eosin, ((x, y), (2 * a, 2 * b), turn), 27, -1, cv2.LINE_AA)
        cv2.ellipse(haematoxylin, ((x, y), (2 * a, 2 * b), turn), 13, -1, cv2.LINE_AA)
        cv2.ellipse(open_lumen, ((x, y), (2 * a * lumen, 2 * b * lumen), turn), 1, -1)
        around = np.arange(0, 2 * np.pi, 17.0 / np.sqrt(a * b))
        around = around + rng.normal(0, 0.05, len(around))
        reach = 0.84 + rng.normal(0, 0.035, len(around))
        u, v = a * reach * np.cos(around), b * reach * np.sin(around)
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        # A nucleus points away from the lumen; sprites are turned by 180 / len(sprites).
        direction = np.degrees(np.arctan2(s * u + c * v, c * u - s * v)) % 180
        turned = np.round(direction / 180 * len(sprites)).astype(int) % len(sprites)
        _stamp(haematoxylin, x + c * u - s * v, y + s * u + c * v, turned, sprites)


def _spread_points(
    tissue: NDArray[np.bool_], wanted: float, apart: float, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """At most `wanted` points (x, y) inside the tissue, `apart` pixels from each other."""
    taken = np.zeros((tissue.shape[0] // 8 + 1, tissue.shape[1] // 8 + 1), np.uint8)
    points: list[tuple[float, float]] = []
    for _ in range(int(wanted * 12)):
        if len(points) >= wanted:
            break
        x, y = rng.uniform(0, tissue.shape[1]), rng.uniform(0, tissue.shape[0])
        centre = (int(x) // 8, int(y) // 8)
        if tissue[int(y), int(x)] and not taken[centre[1], centre[0]]:
            points.append((x, y))
            cv2.circle(taken, centre, int(apart / 8), 1, -1)
    return points


def _scattered_nuclei(
    density: float, tissue: NDArray[np.bool_], haematoxylin: StainMap, rng: np.random.Generator
) -> None:
    """Nuclei of the stroma or of a solid tumour, `density` per mm², in loose clusters."""
    height, width = tissue.shape
    crowding = np.exp(0.35 * smooth_noise((width // 8, height // 8), 25, rng))
    slide_mm2 = width * height * (MPP / 1000) ** 2
    # Candidates are thinned by crowding / peak, so the mean density over the tissue holds.
    peak = float(crowding.max())
    count = rng.poisson(density * slide_mm2 * peak / float(crowding.mean()))
    x, y = rng.uniform(0, width, count), rng.uniform(0, height, count)
    rows, columns = y.astype(int), x.astype(int)
    local = crowding[
        np.minimum(rows // 8, height // 8 - 1), np.minimum(columns // 8, width // 8 - 1)
    ]
    kept = tissue[rows, columns] & (rng.uniform(0, peak, count) < local)
    x, y = x[kept], y[kept]
    round_cells = _nucleus_sprites(rng, length=8.5, width=7.0)
    spindles = _nucleus_sprites(rng, length=11.0, width=4.0)
    spindle = rng.random(len(x)) < 0.3
    for chosen, sprites in ((spindle, spindles), (~spindle, round_cells)):
        kinds = rng.integers(0, len(sprites), int(chosen.sum()))
        _stamp(haematoxylin, x[chosen], y[chosen], kinds, sprites)


def _nucleus_sprites(
    rng: np.random.Generator, length: float, width: float, count: int = 48
) -> list[StainMap]:
    """Nuclei of `length` x `width` µm, turned by 180 / count degrees each, uint8 squares.

    A darker rim, clumped chromatin, now and then a nucleolus.
    """
    sprites = []
    for i in range(count):
        a = length / MPP / 2 * rng.uniform(0.8, 1.2)
        b = width / MPP / 2 * rng.uniform(0.8, 1.2)
        r = int(a * 1.15) + 2
        y, x = np.mgrid[-r : r + 1, -r : r + 1].astype(np.float32)
        t = np.pi * i / count
        u, v = x * np.cos(t) + y * np.sin(t), -x * np.sin(t) + y * np.cos(t)
        wobble = 1 + 0.07 * np.sin(2 * np.arctan2(v, u) + rng.uniform(0, 6.3))
        distance = np.sqrt((u / a) ** 2 + (v / b) ** 2) * wobble
        chromatin = cv2.GaussianBlur(rng.standard_normal(x.shape).astype(np.float32), (0, 0), 1.4)
        stain = rng.uniform(58, 88) * (0.82 + 0.28 * distance**3) + 36 * chromatin
        if rng.random() < 0.4:
            cx, cy = rng.uniform(-0.3, 0.3, 2) * b
            stain += 34 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 3)
        edge = np.clip((1 - distance) * b / 1.6 + 0.5, 0, 1)
        sprites.append(np.clip(stain * edge, 0, 255).astype(np.uint8))
    return sprites


def _stamp(
    stain: StainMap,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    kinds: NDArray[np.int64],
    sprites: list[StainMap],
) -> None:
    """Lay sprites centred at (x, y) on the map; the darker of map and sprite stays."""
    height, width = stain.shape
    for cx, cy, kind in zip(x.astype(int).tolist(), y.astype(int).tolist(), kinds, strict=True):
        sprite = sprites[kind]
        r = sprite.shape[0] // 2
        if r <= cx < width - r and r <= cy < height - r:
            under = stain[cy - r : cy + r + 1, cx - r : cx + r + 1]
            np.maximum(under, sprite, out=under)


def _softened(mask: NDArray[np.bool_]) -> StainMap:
    soft: StainMap = cv2.blur(mask.view(np.uint8) * np.uint8(255), (3, 3))
    return soft


def _grain(size: tuple[int, int], rng: np.random.Generator) -> StainMap:
    """Fine texture around 128, uint8 (height, width), from one repeated patch."""
    patch = (
        rng.standard_normal((1024, 1024), np.float32) * 7 + smooth_noise((1024, 1024), 3, rng) * 7
    )
    patch = np.clip(patch + 128, 0, 255).astype(np.uint8)
    return np.tile(patch, (size[1] // 1024 + 1, size[0] // 1024 + 1))[: size[1], : size[0]]


def _stained(eosin: StainMap, haematoxylin: StainMap, grain: StainMap, strength: float) -> Pixels:
    """Light through both stains, channel by channel, uint8 (h, w, 3)."""
    amount = np.arange(256) / _UNIT * strength
    # Sensor noise: an eighth of the grain, whose mean of 15 is taken off again below.
    sensor = cv2.LUT(grain, (np.arange(256) * 0.12).astype(np.uint8))
    channels = []
    for channel in range(3):
        through_h = np.round(255 * np.exp(-amount * HAEMATOXYLIN[channel] * 1.9))
        through_e = np.round(GLASS[channel] * np.exp(-amount * EOSIN[channel] * 1.6))
        light = cv2.multiply(
            cv2.LUT(haematoxylin, through_h.astype(np.uint8)),
            cv2.LUT(eosin, through_e.astype(np.uint8)),
            scale=1 / 255,
        )
        channels.append(cv2.subtract(cv2.add(light, sensor), 15.0))
    merged: Pixels = cv2.merge(channels)
    return merged


def _pen_mark(pixels: Pixels, colour: str, rng: np.random.Generator) -> None:
    """A hand-drawn arc along the slide's border, 0.2 mm broad, over whatever is there."""
    height, width = pixels.shape[:2]
    turn = np.linspace(0, 0.8 * np.pi, 60) + rng.uniform(0, 2 * np.pi)
    wander = 1 + 0.04 * np.cumsum(rng.standard_normal(60)) / np.sqrt(60)
    x = width * (0.5 + 0.46 * np.cos(turn) * wander)
    y = height * (0.5 + 0.46 * np.sin(turn) * wander)
    points = np.stack([x, y], axis=1).astype(np.int32)
    line = np.zeros((height // 4, width // 4), np.uint8)
    cv2.polylines(line, [points // 4], False, 235, int(200 / MPP / 4), cv2.LINE_AA)
    cover = cv2.resize(cv2.GaussianBlur(line, (0, 0), 2), (width, height))
    for channel, ink in enumerate(INK[colour]):
        through = cv2.multiply(pixels[..., channel], float(ink), scale=1 / 250)
        under = cv2.multiply(pixels[..., channel], 255 - cover, scale=1 / 255)
        pixels[..., channel] = cv2.add(under, cv2.multiply(through, cover, scale=1 / 255))
