"""Tissue is found, glass and ink are not, and each tile knows its share."""

from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from drawn_slides import EOSIN, GLASS, NUCLEI, DrawnSlide, paint, plain
from hypothesis import given
from hypothesis import strategies as st

from pathray.errors import RequestError, SlideError
from pathray.slides.openslide import OpenSlideReader
from pathray.slides.thumbnail import TISSUE_MAX_SIDE, read_thumbnail, tissue_downsample
from pathray.slides.tissue import (
    TissueMask,
    find_tissue,
    mask_digest,
    read_mask_image,
    segment,
    tissue_methods,
)

INK = {"blue": (50, 90, 170), "green": (20, 130, 80), "black": (28, 27, 32)}


def tissue_at(mask: TissueMask, x: int, y: int, side: int) -> float:
    return float(mask.fraction([x], [y], side)[0])


@pytest.mark.parametrize(
    "glass", [(255, 255, 255), GLASS, (228, 226, 233), (240, 238, 226), (205, 205, 200)]
)
def test_glass_of_any_tint_has_no_tissue(glass: tuple[int, int, int]) -> None:
    assert not find_tissue(DrawnSlide(plain(2048, 2048, glass))).pixels.any()


@pytest.mark.parametrize("colour", [EOSIN, NUCLEI, (228, 190, 215)])
def test_a_crop_that_is_all_tissue_is_nearly_all_tissue(colour: tuple[int, int, int]) -> None:
    assert find_tissue(DrawnSlide(plain(2048, 2048, colour))).pixels.mean() > 0.99


def test_tissue_of_two_stains_does_not_lose_the_paler_one() -> None:
    pixels = plain(2048, 2048)
    paint(pixels, 0, 0, 1024, 1024, NUCLEI)
    paint(pixels, 1024, 1024, 1024, 1024, (232, 205, 222))
    mask = find_tissue(DrawnSlide(pixels))
    assert tissue_at(mask, 0, 0, 1024) > 0.98
    assert tissue_at(mask, 1024, 1024, 1024) > 0.98
    assert tissue_at(mask, 1100, 100, 800) == 0


@pytest.mark.parametrize("ink", INK)
def test_a_pen_mark_is_not_tissue_while_dense_nuclei_beside_it_are(ink: str) -> None:
    pixels = plain(4096, 3072)
    paint(pixels, 300, 1800, 2000, 1000, NUCLEI)
    paint(pixels, 200, 300, 3600, 900, INK[ink])
    mask = find_tissue(DrawnSlide(pixels))
    assert tissue_at(mask, 200, 100, 1300) == 0
    assert tissue_at(mask, 2400, 100, 1300) == 0
    assert tissue_at(mask, 350, 1850, 900) == 1


def test_ink_over_tissue_goes_with_its_stroke() -> None:
    pixels = plain(4096, 3072)
    paint(pixels, 0, 1500, 4096, 1400, EOSIN)
    stroke = pixels[800:2200, 1600:2400] * (np.array(INK["blue"]) / 250)
    pixels[800:2200, 1600:2400] = stroke.astype(np.uint8)
    mask = find_tissue(DrawnSlide(pixels))
    assert tissue_at(mask, 1700, 1550, 600) == 0
    assert tissue_at(mask, 100, 1600, 1200) == 1
    assert tissue_at(mask, 2600, 1600, 1200) == 1


def test_the_black_around_a_scan_is_not_tissue() -> None:
    pixels = np.zeros((3072, 3072, 3), np.uint8)
    paint(pixels, 512, 512, 2048, 2048, GLASS)
    paint(pixels, 1024, 1024, 1024, 1024, EOSIN)
    mask = find_tissue(DrawnSlide(pixels))
    assert tissue_at(mask, 1024, 1024, 1024) > 0.98
    assert mask.pixels.mean() == pytest.approx(1 / 9, rel=0.08)


def test_specks_are_dropped_and_fragments_kept() -> None:
    pixels = plain(4096, 4096)
    paint(pixels, 200, 200, 240, 240, EOSIN)
    paint(pixels, 2000, 2000, 800, 800, EOSIN)
    mask = find_tissue(DrawnSlide(pixels))
    assert tissue_at(mask, 100, 100, 600) == 0
    assert tissue_at(mask, 2020, 2020, 760) == 1


def test_the_size_of_a_speck_is_physical() -> None:
    pixels = plain(4096, 4096)
    paint(pixels, 200, 200, 300, 300, EOSIN)
    assert not find_tissue(DrawnSlide(pixels, mpp=0.25)).pixels.any()
    assert find_tissue(DrawnSlide(pixels, mpp=0.5)).pixels.any()
    assert find_tissue(DrawnSlide(pixels, mpp=None), mpp=0.5).pixels.any()


def test_holes_are_kept_out() -> None:
    pixels = plain(4096, 4096)
    paint(pixels, 500, 500, 3000, 3000, EOSIN)
    paint(pixels, 1800, 1800, 240, 240, GLASS)
    mask = find_tissue(DrawnSlide(pixels))
    assert tissue_at(mask, 1850, 1850, 140) == 0
    assert tissue_at(mask, 600, 600, 1000) == 1


def test_tissue_stays_inside_the_scanned_bounds() -> None:
    slide = DrawnSlide(plain(2048, 2048, EOSIN), bounds=(512, 256, 1024, 1280))
    for method in tissue_methods:
        mask = find_tissue(slide, method)
        assert tissue_at(mask, 512, 256, 1024) > 0.99
        assert mask.pixels.mean() == pytest.approx(1024 * 1280 / 2048**2, abs=0.01)


def test_the_method_all_keeps_glass() -> None:
    assert find_tissue(DrawnSlide(plain(1000, 700)), "all").pixels.all()


def test_an_unknown_method_is_told_with_the_known_ones() -> None:
    with pytest.raises(RequestError, match="known: all, saturation-otsu"):
        find_tissue(DrawnSlide(plain(64, 64)), "entropy")


def test_a_part_that_cannot_be_decoded_is_left_to_the_tiles_to_try() -> None:
    slide = DrawnSlide(plain(4096, 4096), broken=(1000, 1000, 10, 10))
    mask = find_tissue(slide)
    assert tissue_at(mask, 1000, 1000, 10) == 1
    assert mask.pixels.sum() * 16 * 16 <= 256 * 256


@given(
    seed=st.integers(0, 1000),
    x=st.floats(-20, 70),
    y=st.floats(-20, 70),
    side=st.floats(0.5, 60),
)
def test_a_tiles_share_is_the_exact_area(seed: int, x: float, y: float, side: float) -> None:
    pixels = np.random.default_rng(seed).random((7, 9)) < 0.5
    scale = (6.5, 8.0)
    share = TissueMask(pixels, scale).fraction([x], [y], side)[0]
    rows, columns = np.nonzero(pixels)
    wide = np.minimum(x + side, (columns + 1) * scale[0]) - np.maximum(x, columns * scale[0])
    high = np.minimum(y + side, (rows + 1) * scale[1]) - np.maximum(y, rows * scale[1])
    area = (np.maximum(wide, 0) * np.maximum(high, 0)).sum()
    assert share == pytest.approx(area / side**2, abs=1e-5)


def test_shares_come_as_float32_and_no_tiles_give_none() -> None:
    mask = TissueMask(np.ones((4, 4), np.bool_), (2.0, 2.0))
    assert mask.fraction([0, 4], [0, 4], 8).tolist() == [1.0, 0.25]
    assert mask.fraction([], [], 8).shape == (0,)
    assert mask.fraction([0], [0], 8).dtype == np.float32


def test_a_thumbnail_is_the_area_average_and_no_read_is_large() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2500, 4130, 3), dtype=np.uint8)
    slide = DrawnSlide(pixels)
    thumbnail = read_thumbnail(slide, 16)
    assert thumbnail.pixels.shape == (157, 259, 3)
    assert thumbnail.scale == (16, 16)
    assert slide.largest_read <= 2048 * 2048
    means = pixels[:2496, :4128].reshape(156, 16, 258, 16, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(thumbnail.pixels[:156, :258], means, atol=0.51)
    edge = pixels[2496:, :4128].reshape(4, 258, 16, 3).mean(axis=(0, 2))
    np.testing.assert_allclose(thumbnail.pixels[156, :258], edge, atol=0.51)


@pytest.mark.parametrize(
    ("mpp", "side", "downsample"),
    [(0.25, 40_000, 16), (0.263, 36_000, 16), (0.5, 20_000, 8), (0.25, 100_000, 32), (8, 500, 1)],
)
def test_a_mask_pixel_is_about_4_microns(mpp: float, side: int, downsample: int) -> None:
    slide = DrawnSlide(np.broadcast_to(np.uint8(0), (side, side, 3)), mpp=mpp)
    assert tissue_downsample(slide.info, mpp) == downsample
    assert side / downsample <= TISSUE_MAX_SIDE


SHARES = {
    "CMU-1-Small-Region.svs": (0.36, 0.41),
    "TCGA-CR-7395-01A-01-TS1.svs": (0.62, 0.67),
    "arachnoid-cyst-HE.svs": (0.06, 0.10),
    "test3-DAPI-2-387.ndpi": (0.0, 0.01),
}


@pytest.mark.parametrize("name", SHARES)
def test_real_slides_have_the_share_of_tissue_one_sees(shared: Path, name: str) -> None:
    reader = OpenSlideReader(str(shared / "data/slides" / name))
    low, high = SHARES[name]
    assert low <= find_tissue(reader).pixels.mean() <= high
    reader.close()


CROP_SHARES = {
    "acute-appendicitis-HE-crop.tif": (0.68, 0.73),
    "arachnoid-cyst-HE-crop.svs": (0.66, 0.76),
    "duodenum-tubular-adenoma-HE-crop.svs": (0.72, 0.81),
    "endometrial-polyp-HE-crop.tif": (0.71, 0.80),
    "giardia-HE-crop.svs": (0.72, 0.81),
    "melanosiscoli-HE-crop.tif": (0.69, 0.78),
    "melanosiscoli-PAS-crop.tif": (0.60, 0.72),
    "metastaticsarcoma-HE-crop.tif": (0.67, 0.72),
}


def in_true_colours(path: Path) -> np.ndarray:
    """The crops hold RGB in JPEGs that claim to be YCbCr: as files say, glass is magenta."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        pixels = np.zeros(page.shape, np.uint8)
        columns = -(-page.imagewidth // page.tilewidth)
        for index, (start, size) in enumerate(
            zip(page.dataoffsets, page.databytecounts, strict=True)
        ):
            tiff.filehandle.seek(start)
            tile = imagecodecs.jpeg8_decode(
                tiff.filehandle.read(size),
                tables=page.jpegtables,
                colorspace="RGB",
                outcolorspace="RGB",
            )
            y, x = index // columns * page.tilelength, index % columns * page.tilewidth
            place = pixels[y : y + page.tilelength, x : x + page.tilewidth]
            place[:] = tile[: place.shape[0], : place.shape[1]]
    return pixels


@pytest.mark.parametrize("name", CROP_SHARES)
def test_real_crops_have_the_share_of_tissue_one_sees(shared: Path, name: str) -> None:
    low, high = CROP_SHARES[name]
    slide = DrawnSlide(in_true_colours(shared / "data/slides" / name), mpp=0.263)
    assert low <= find_tissue(slide).pixels.mean() <= high


def test_pen_marks_on_a_real_slide_are_left_out_and_its_tissue_stays(shared: Path) -> None:
    reader = OpenSlideReader(str(shared / "data/slides/arachnoid-cyst-HE.svs"))
    thumbnail = read_thumbnail(reader, tissue_downsample(reader.info, reader.info.mpp))
    clean = segment(thumbnail, reader.info).pixels
    ink = np.zeros(clean.shape, np.uint8)
    for row, colour in zip((150, 1000, 2000), INK.values(), strict=True):
        points = [(x, row + int(40 * np.sin(x / 90))) for x in range(200, 2000, 10)]
        stroke = np.zeros_like(ink)
        cv2.polylines(stroke, [np.array(points)], False, 255, 75)
        cover = cv2.GaussianBlur(stroke, (0, 0), 1.5)[..., None] / 255 * 0.95
        thumbnail.pixels[:] = thumbnail.pixels * (1 - cover) + np.array(colour) * cover
        ink |= stroke
    marked = segment(thumbnail, reader.info).pixels
    around = cv2.dilate(ink, np.ones((15, 15), np.uint8)) > 0
    assert marked[ink > 0].mean() < 0.001
    assert (marked & ~clean)[around].mean() < 0.005
    assert marked[clean & ~around].mean() > 0.9


def write_mask(path: Path, pixels: np.ndarray) -> str:
    cv2.imwrite(str(path), pixels)
    return str(path)


def test_a_mask_image_is_laid_over_the_whole_slide(tmp_path: Path) -> None:
    info = DrawnSlide(plain(400, 300)).info
    image = np.zeros((30, 40), np.uint8)
    image[10:20, 0:20] = 1
    mask = read_mask_image(write_mask(tmp_path / "mask.png", image), info)
    assert mask.scale == (10, 10)
    assert mask.fraction([0, 100, 200], [100, 100, 0], 100).tolist() == [1, 1, 0]


def test_a_mask_of_another_shape_is_refused_with_both_sizes(tmp_path: Path) -> None:
    uri = write_mask(tmp_path / "mask.png", np.ones((30, 41), np.uint8))
    with pytest.raises(SlideError, match=r"41 x 30, the slide 400 x 300"):
        read_mask_image(uri, DrawnSlide(plain(400, 300)).info)


def test_a_missing_or_broken_mask_is_told_by_name(tmp_path: Path) -> None:
    info = DrawnSlide(plain(400, 300)).info
    (tmp_path / "broken.png").write_bytes(b"not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, problem in (
        ("broken.png", "not an image"),
        ("empty.png", "empty"),
        ("none.png", "exist"),
    ):
        with pytest.raises(SlideError, match=f"{name}.*{problem}"):
            read_mask_image(str(tmp_path / name), info)


def test_a_masks_digest_changes_with_its_bytes(tmp_path: Path) -> None:
    first = write_mask(tmp_path / "a.png", np.ones((8, 8), np.uint8))
    again = write_mask(tmp_path / "b.png", np.ones((8, 8), np.uint8))
    other = write_mask(tmp_path / "c.png", np.zeros((8, 8), np.uint8))
    assert mask_digest(first) == mask_digest(again) != mask_digest(other)
