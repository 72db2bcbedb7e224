"""Microns per pixel: what a file states is repaired, replaced or refused."""

import pytest

from pathray.errors import SlideError
from pathray.slides.mpp import LARGEST, SMALLEST, settle_mpp


def test_a_plausible_mpp_is_taken_as_it_is_with_its_source() -> None:
    mpp = settle_mpp(0.263, "aperio.MPP", None)
    assert (mpp.value, mpp.source) == (0.263, "aperio.MPP")


@pytest.mark.parametrize("edge", [SMALLEST, LARGEST])
def test_the_ends_of_the_plausible_range_are_plausible(edge: float) -> None:
    assert settle_mpp(edge, "test", None).value == edge


@pytest.mark.parametrize(("stated", "unit"), [(0.00025, "millimetres"), (2.5e-7, "metres")])
def test_an_mpp_in_a_wrong_unit_is_repaired_and_the_repair_is_told(
    stated: float, unit: str
) -> None:
    mpp = settle_mpp(stated, "tiff", None)
    assert mpp.value == pytest.approx(0.25)
    assert unit in mpp.source


def test_a_missing_mpp_fails_the_slide_and_names_the_cure() -> None:
    with pytest.raises(SlideError, match=r"has no mpp: give --assume-mpp"):
        settle_mpp(None, None, None)


@pytest.mark.parametrize("stated", [352.8, 0.0, -0.25, 2.5, float("nan"), float("inf")])
def test_an_absurd_mpp_fails_the_slide_and_is_told(stated: float) -> None:
    with pytest.raises(SlideError, match=r"absurd mpp of .* \(tiff\): give --assume-mpp"):
        settle_mpp(stated, "tiff", None)


@pytest.mark.parametrize("stated", [None, 352.8, 0.0])
def test_the_assumed_mpp_stands_in_where_the_file_has_none_or_an_absurd_one(
    stated: float | None,
) -> None:
    mpp = settle_mpp(stated, "tiff", 0.5)
    assert (mpp.value, mpp.source) == (0.5, "--assume-mpp")


def test_the_assumed_mpp_does_not_overrule_a_plausible_one() -> None:
    assert settle_mpp(0.263, "aperio.MPP", 0.5).value == 0.263
