"""From an open slide to its tiles: plan, cut, resample."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest
from drawn_slides import EOSIN, DrawnSlide, paint, plain
from numpy.typing import NDArray

from pathray.cohort import Slide
from pathray.errors import RequestError, SlideError
from pathray.slides.openslide import OpenSlideReader
from pathray.slides.reader import Pixels, SlideReader
from pathray.storage import Source
from pathray.tiling import (
    Plan,
    Tiling,
    check_mask,
    cut_tiles,
    plan_tiles,
    provenance,
    slide_identity,
)

EVERYWHERE = Tiling(tissue="all", min_tissue=0.0)
SOURCE = Source(10, "v1", "2026-01-01T00:00:00+00:00")


@pytest.fixture(scope="module")
def path(shared: Path) -> str:
    """A real crop of 3,072 x 3,072 with three levels, mpp 0.263."""
    return str(shared / "data/slides/arachnoid-cyst-HE-crop.svs")


@pytest.fixture(scope="module")
def crop(path: str) -> Iterator[SlideReader]:
    with closing(OpenSlideReader(path)) as reader:
        yield reader


def plan_of(reader: SlideReader, tiling: Tiling, slide_id: str = "a") -> Plan:
    return plan_tiles(reader, slide_id, tiling)[0]


def cut(reader: SlideReader, plan: Plan) -> list[Pixels]:
    tiles = [np.array(tile) for tile in cut_tiles(reader, plan) if tile is not None]
    assert len(tiles) == len(plan.x)
    return tiles


def area_average(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """Reduction by exact pixel areas, written as two matrix products."""
    edges = np.linspace(0, len(pixels), side + 1)
    low, high = edges[:-1, None], edges[1:, None]
    columns = np.arange(len(pixels))
    cover = np.clip(np.minimum(high, columns + 1) - np.maximum(low, columns), 0, None)
    cover /= cover.sum(axis=1, keepdims=True)
    return np.einsum("ij,jkc,lk->ilc", cover, pixels.astype(np.float64), cover, optimize=True)


def test_native_tiles_are_the_pixels_of_level_0(crop: SlideReader, path: str) -> None:
    plan = plan_of(crop, replace(EVERYWHERE, mpp="native", tile_size=512))
    assert len(plan.x) == 36
    with openslide.OpenSlide(path) as slide:
        for x, y, tile in zip(plan.x, plan.y, cut(crop, plan), strict=True):
            theirs = slide.read_region((int(x), int(y)), 0, (512, 512)).convert("RGB")
            assert np.array_equal(tile, np.asarray(theirs))


def test_a_level_within_the_tolerance_is_cut_without_a_change(crop: SlideReader, path: str) -> None:
    plan = plan_of(crop, replace(EVERYWHERE, mpp=1.0, tile_size=256))
    sampling = plan.sampling
    assert (sampling.level, sampling.resampled) == (1, False)
    assert sampling.side0 == round(256 * sampling.downsample)
    with openslide.OpenSlide(path) as slide:
        for x, y, tile in zip(plan.x, plan.y, cut(crop, plan), strict=True):
            d = sampling.downsample
            origin = (round(round(int(x) / d) * d), round(round(int(y) / d) * d))
            theirs = slide.read_region(origin, 1, (256, 256)).convert("RGB")
            assert np.array_equal(tile, np.asarray(theirs))


@pytest.mark.parametrize(("mpp", "level"), [(0.4, 0), (0.5, 0), (1.7, 1)])
def test_other_tiles_are_area_averages_of_the_nearest_finer_level(
    crop: SlideReader, path: str, mpp: float, level: int
) -> None:
    plan = plan_of(crop, replace(EVERYWHERE, mpp=mpp, tile_size=224, tiles_per_slide=4))
    slide_mpp = plan.mpp.value
    side0 = round(224 * mpp / slide_mpp)
    assert (plan.sampling.level, plan.sampling.side0) == (level, side0)
    with openslide.OpenSlide(path) as slide:
        d = slide.level_downsamples[level]
        side = round(side0 / d)
        for x, y, tile in zip(plan.x, plan.y, cut(crop, plan), strict=True):
            origin = (round(round(int(x) / d) * d), round(round(int(y) / d) * d))
            region = np.asarray(slide.read_region(origin, level, (side, side)).convert("RGB"))
            error = np.abs(tile - area_average(region, 224))
            # Rounding to uint8 is worth .5; OpenCV's weights are in float32.
            assert error.max() <= 0.75


def test_an_enlarged_tile_has_the_size_asked_for(crop: SlideReader) -> None:
    tiling = replace(EVERYWHERE, mpp=0.125, allow_upsample=True, tiles_per_slide=2)
    plan = plan_of(crop, tiling)
    assert plan.sampling.side0 == round(224 * 0.125 / plan.mpp.value)
    assert {tile.shape for tile in cut(crop, plan)} == {(224, 224, 3)}


def test_only_tiles_with_enough_tissue_are_kept() -> None:
    picture = plain(4480, 2240)
    paint(picture, 0, 0, 2240, 2240, EOSIN)
    reader = DrawnSlide(picture)
    mostly = plan_of(reader, Tiling(min_tissue=0.75))
    assert len(mostly.x)
    assert mostly.tissue.min() >= 0.75
    assert mostly.x.max() + 224 <= 2240 + 224
    everything = plan_of(reader, Tiling(min_tissue=0.0))
    assert len(everything.x) == 200
    assert len(everything.x) == len(everything.tissue) == len(everything.y)


def test_a_sampled_plan_is_a_part_of_the_whole_in_y_x_order(crop: SlideReader) -> None:
    whole = plan_of(crop, EVERYWHERE)
    some = plan_of(crop, replace(EVERYWHERE, tiles_per_slide=20))
    corners = list(zip(some.y.tolist(), some.x.tolist(), strict=True))
    assert len(corners) == 20
    assert corners == sorted(corners)
    assert set(corners) <= set(zip(whole.y.tolist(), whole.x.tolist(), strict=True))


def test_a_plan_of_100000_tiles_is_made_of_whole_arrays() -> None:
    picture = np.broadcast_to(np.uint8(128), (4480, 4480, 3))
    tiling = replace(EVERYWHERE, tile_size=14, mpp="native")
    plan = plan_of(DrawnSlide(picture), tiling)
    assert len(plan.x) == 320 * 320
    assert [array.dtype for array in (plan.x, plan.y, plan.tissue)] == ["i4", "i4", "f4"]
    assert sum(stop - start for start, stop in plan.pieces()) == len(plan.x)


def test_a_part_of_a_plan_has_its_tiles_alone(crop: SlideReader) -> None:
    plan = plan_of(crop, EVERYWHERE)
    part = plan.part(5, 9)
    assert part.x.tolist() == plan.x[5:9].tolist()
    assert len(part.tissue) == len(part.y) == 4
    assert part.sampling == plan.sampling


def test_a_slide_smaller_than_a_tile_has_none() -> None:
    plan = plan_of(DrawnSlide(plain(100, 100)), EVERYWHERE)
    assert len(plan.x) == 0
    assert plan.pieces() == [(0, 0)]


def test_tiles_stay_inside_the_bounds() -> None:
    reader = DrawnSlide(plain(2000, 1500), bounds=(101, 203, 1000, 500))
    plan = plan_of(reader, EVERYWHERE)
    assert (plan.x.min(), plan.y.min()) == (101, 203)
    assert plan.x.max() + 224 <= 1101
    assert plan.y.max() + 224 <= 703


def test_a_slide_without_an_mpp_fails_and_with_an_assumed_one_does_not() -> None:
    reader = DrawnSlide(plain(1000, 1000), mpp=None)
    with pytest.raises(SlideError, match="--assume-mpp"):
        plan_of(reader, EVERYWHERE)
    plan = plan_of(reader, replace(EVERYWHERE, assume_mpp=0.25))
    assert plan.mpp.source == "--assume-mpp"


SETTINGS = {
    "tile_size": 256, "mpp": 0.5, "tolerance": 0.2, "stride": 112, "min_tissue": 0.5,
    "tissue": "all", "tiles_per_slide": 5, "seed": 1, "assume_mpp": 0.3,
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_that_decides_tiles_is_part_of_the_identity(name: str) -> None:
    changed = replace(Tiling(), **{name: SETTINGS[name]})  # type: ignore[arg-type]
    mine, theirs = Tiling().identity(), changed.identity()
    assert mine[name] != theirs[name]


def test_a_stride_of_the_tile_size_is_the_default_one() -> None:
    assert Tiling(stride=224).identity() == Tiling().identity()


def test_a_slides_identity_is_its_source_and_its_mask_too(tmp_path: Path) -> None:
    slide = Slide("a", "s3://bucket/a.svs")
    plain_identity = slide_identity(slide, SOURCE, Tiling())
    assert plain_identity["source"] == {"size": 10, "version": "v1"}
    assert slide_identity(slide, replace(SOURCE, modified=None), Tiling()) == plain_identity
    (tmp_path / "a.png").write_bytes(b"one mask")
    masked = Tiling(mask=f"{tmp_path}/{{slide_id}}.png")
    first = slide_identity(slide, SOURCE, masked)
    (tmp_path / "a.png").write_bytes(b"another mask")
    assert slide_identity(slide, SOURCE, masked)["mask"] != first["mask"]


def test_a_slide_without_its_mask_fails_with_the_name_of_the_mask(tmp_path: Path) -> None:
    masked = Tiling(mask=f"{tmp_path}/{{slide_id}}.png")
    with pytest.raises(SlideError, match=r"mask .*/a\.png does not exist"):
        slide_identity(Slide("a", "/data/a.svs"), SOURCE, masked)
    with pytest.raises(SlideError, match=r"mask .*/a\.png does not exist"):
        plan_tiles(DrawnSlide(plain(1000, 1000)), "a", masked)


def test_one_mask_for_several_slides_is_a_wrong_request(tmp_path: Path) -> None:
    cohort = [Slide("a", "/data/a.svs"), Slide("b", "/data/b.svs")]
    (tmp_path / "mask.png").write_bytes(b"x")
    masked = Tiling(mask=str(tmp_path / "mask.png"))
    with pytest.raises(RequestError, match=r"one image for 2 slides; put \{slide_id\}"):
        check_mask(masked, cohort)
    check_mask(masked, cohort[:1])
    check_mask(Tiling(mask="masks/{slide_id}.png"), cohort)
    with pytest.raises(RequestError, match=r"nothing\.png does not exist"):
        check_mask(Tiling(mask=str(tmp_path / "nothing.png")), cohort[:1])


def test_provenance_says_what_was_read_and_how(crop: SlideReader) -> None:
    plan = plan_of(crop, EVERYWHERE)
    made = provenance(Slide("a", "s3://bucket/a.svs", "P1"), SOURCE, plan)
    assert made["coordinates"] == "x, y: top-left corner of the tile in level-0 pixels"
    assert (made["slide"], made["patient_id"], made["reader"]) == (
        "s3://bucket/a.svs", "P1", "openslide",
    )  # fmt: skip
    assert (made["width"], made["side0"], made["level"]) == (3072, 224, 0)
    assert made["mpp"] == made["slide_mpp"] == plan.mpp.value
    assert made["slide_mpp_source"] == "openslide.mpp-x"
