"""The synthetic cohort is made of real slides, and its subtypes differ as they say."""

import csv
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest

from pathray.slides.openslide import OpenSlideReader
from pathray.slides.preview import preview_thumbnail
from pathray.slides.tissue import find_tissue, segment
from pathray.synthetic import COLUMNS, invent_patients, make_cohort
from pathray.synthetic_slide import INK, SlideRecipe, draw_slide


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("cohort"), patients=2, seed=3)


def rows_of(cohort: Path) -> list[dict[str, str]]:
    with cohort.open(newline="") as file:
        return list(csv.DictReader(file))


def draw(seed: int = 0, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    recipe = {"width": 1600, "height": 1400, "density": 2000.0, "gland_share": 0.3} | changes
    return draw_slide(SlideRecipe(**recipe), np.random.default_rng(seed))  # type: ignore[arg-type]


def test_the_table_names_slides_patients_labels_and_follow_up(cohort: Path) -> None:
    rows = rows_of(cohort)
    assert tuple(rows[0]) == COLUMNS
    assert [row["slide_id"] for row in rows] == ["P01-1", "P02-1", "P02-2"]
    assert all(Path(row["slide"]).is_file() for row in rows)
    assert {row["subtype"] for row in rows} == {"glandular", "solid"}


def test_the_slides_open_in_openslide_with_their_mpp_and_levels(cohort: Path) -> None:
    for row in rows_of(cohort):
        slide = openslide.OpenSlide(row["slide"])
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5)
        assert [round(d) for d in slide.level_downsamples] == [1, 4, 16]
        assert min(slide.dimensions) > 3000
        slide.close()


def test_the_same_seed_gives_the_same_bytes(cohort: Path, tmp_path: Path) -> None:
    again = make_cohort(tmp_path, patients=2, seed=3)
    for first, second in zip(rows_of(cohort), rows_of(again), strict=True):
        assert Path(first["slide"]).read_bytes() == Path(second["slide"]).read_bytes()
        assert {**first, "slide": ""} == {**second, "slide": ""}


def test_another_seed_gives_another_slide() -> None:
    assert (draw(seed=0)[0] != draw(seed=1)[0]).any()


def test_the_tissue_found_on_a_slide_is_the_tissue_that_was_drawn(cohort: Path) -> None:
    marked, whole, nearly_glass = (row["slide"] for row in rows_of(cohort))
    shares = {}
    for path in (marked, whole, nearly_glass):
        reader = OpenSlideReader(path)
        shares[path] = find_tissue(reader).pixels.mean()
        reader.close()
    assert 0.25 < shares[marked] < 0.65
    assert 0.35 < shares[whole] < 0.65
    assert 0.02 < shares[nearly_glass] < 0.10


def test_the_pen_mark_of_the_first_slide_is_not_tissue(cohort: Path) -> None:
    reader = OpenSlideReader(rows_of(cohort)[0]["slide"])
    thumbnail = preview_thumbnail(reader)
    ink = np.abs(thumbnail.pixels.astype(int) - np.array(INK["blue"])).max(axis=2) < 25
    assert ink.mean() > 0.005
    assert segment(thumbnail, reader.info).pixels[ink].mean() < 0.01
    reader.close()


def test_the_drawn_nuclear_density_is_the_one_asked_for() -> None:
    sparse, crowded = (
        draw(density=density, gland_share=0.0, width=2400, height=2000)
        for density in (600.0, 1200.0)
    )
    counts = []
    for pixels, tissue in (sparse, crowded):
        dark = (pixels[..., 0] < 125).astype(np.uint8)
        parts, _, stats, _ = cv2.connectedComponentsWithStats(dark)
        nuclei = (stats[1:parts, cv2.CC_STAT_AREA] > 40).sum()
        counts.append(nuclei / (tissue.sum() * 0.5e-3**2))
    assert counts[0] == pytest.approx(600, rel=0.25)
    assert counts[1] == pytest.approx(1200, rel=0.25)


def test_solid_tumours_are_denser_than_glandular_ones(cohort: Path) -> None:
    dark = {}
    for row in rows_of(cohort)[:2]:
        reader = OpenSlideReader(row["slide"])
        centre = reader.read(0, reader.info.width // 2 - 700, reader.info.height // 2, 1400, 1000)
        tissue = (centre.max(axis=2).astype(int) - centre.min(axis=2)) > 20
        dark[row["subtype"]] = ((centre[..., 0] < 125) & tissue).sum() / tissue.sum()
        reader.close()
    assert dark["solid"] > 1.3 * dark["glandular"]


def test_survival_depends_on_the_subtype_and_some_are_censored() -> None:
    people = invent_patients(400, seed=0)
    deaths = {s: [p for p in people if p.subtype == s] for s in ("glandular", "solid")}
    rate = {s: sum(p.event for p in g) / sum(p.time for p in g) for s, g in deaths.items()}
    assert rate["solid"] > 3 * rate["glandular"]
    assert 0.2 < np.mean([p.event for p in people]) < 0.95
    assert min(p.time for p in people) > 0


def test_denser_tumours_of_one_subtype_kill_sooner() -> None:
    solid = [p for p in invent_patients(2000, seed=1) if p.subtype == "solid"]
    middle = np.median([p.density for p in solid])
    rates = [
        sum(p.event for p in group) / sum(p.time for p in group)
        for group in (
            [p for p in solid if p.density <= middle],
            [p for p in solid if p.density > middle],
        )
    ]
    assert rates[1] > 1.2 * rates[0]
