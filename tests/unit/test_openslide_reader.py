"""Slides read by OpenSlide."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import openslide
import pytest

from pathray.errors import SlideError, TileError
from pathray.slides.open import is_spooled, open_slide
from pathray.slides.openslide import OpenSlideReader, _bounds, _flatten
from pathray.slides.spool import Spool

SLIDES = [
    "CMU-1-Small-Region.svs",
    "TCGA-CR-7395-01A-01-TS1.svs",
    "arachnoid-cyst-HE-crop.svs",
    "test3-DAPI-2-387.ndpi",
    "dicom-ICE1-WDNET-duodenum-HE-crop/*.dcm",
]


def path_of(shared: Path, name: str) -> str:
    return str(sorted((shared / "data/slides").glob(name))[0])


@pytest.fixture
def crop(shared: Path) -> Iterator[OpenSlideReader]:
    with closing(OpenSlideReader(path_of(shared, "arachnoid-cyst-HE-crop.svs"))) as reader:
        yield reader


@pytest.mark.parametrize("name", SLIDES)
def test_pixels_are_those_of_openslide_python(shared: Path, name: str) -> None:
    path = path_of(shared, name)
    with closing(OpenSlideReader(path)) as reader, openslide.OpenSlide(path) as slide:
        assert (reader.info.width, reader.info.height) == slide.dimensions
        for x, y in ((0, 0), (1001, 777), (slide.dimensions[0] - 100, slide.dimensions[1] - 60)):
            theirs = np.asarray(slide.read_region((x, y), 0, (100, 60)).convert("RGB"))
            assert np.array_equal(reader.read(0, x, y, 100, 60), theirs)


def test_squares_are_windows_in_the_order_asked(crop: OpenSlideReader) -> None:
    origins = np.array([[0, 0], [224, 0], [100, 500]], np.int64)
    for origin, square in zip(origins, crop.read_squares(0, origins, 224), strict=True):
        assert square is not None
        assert np.array_equal(square, crop.read(0, *origin, 224, 224))


def test_a_reduced_level_is_addressed_in_its_own_pixels(shared: Path) -> None:
    path = path_of(shared, "arachnoid-cyst-HE-crop.svs")
    with closing(OpenSlideReader(path)) as reader, openslide.OpenSlide(path) as slide:
        d = slide.level_downsamples[1]
        theirs = slide.read_region((round(40 * d), round(60 * d)), 1, (50, 30)).convert("RGB")
        assert np.array_equal(reader.read(1, 40, 60, 50, 30), np.asarray(theirs))


def test_what_lies_outside_the_slide_takes_the_background(crop: OpenSlideReader) -> None:
    info = crop.info
    corner = crop.read(0, info.width - 10, info.height - 10, 30, 30)
    assert (corner[10:, :] == info.background).all()
    assert (corner[:, 10:] == info.background).all()
    assert not (corner[:10, :10] == info.background).all()
    assert (crop.read(0, -50, -50, 20, 20) == info.background).all()


def test_transparent_pixels_take_the_background_and_others_mix_with_it() -> None:
    bgra = np.array([[[0, 0, 0, 0], [30, 20, 10, 255], [50, 0, 0, 100], [9, 9, 9, 254]]], np.uint8)
    rgb = _flatten(bgra, (200, 100, 0))
    assert rgb.tolist() == [[[200, 100, 0], [10, 20, 30], [122, 61, 50], [10, 9, 9]]]


def test_the_mpp_is_told_with_the_property_it_came_from(crop: OpenSlideReader) -> None:
    assert crop.info.mpp == pytest.approx(0.263, abs=0.01)
    assert crop.info.mpp_source == "openslide.mpp-x"


def test_a_slide_without_an_mpp_says_nothing(shared: Path) -> None:
    with closing(OpenSlideReader(path_of(shared, "TCGA-CR-7395-01A-01-TS1.svs"))) as reader:
        assert (reader.info.mpp, reader.info.mpp_source) == (None, None)


class Stated:
    """What OpenSlide says of the bounds of a slide."""

    def __init__(self, **bounds: str) -> None:
        self.properties = {f"openslide.bounds-{name}": value for name, value in bounds.items()}


def test_bounds_are_those_stated_or_the_whole_slide() -> None:
    stated = Stated(x="10", y="20", width="300", height="400")
    assert _bounds(stated, 1000, 2000) == (10, 20, 300, 400)  # type: ignore[arg-type]
    assert _bounds(Stated(), 1000, 2000) == (0, 0, 1000, 2000)  # type: ignore[arg-type]


def test_bounds_stated_in_part_are_completed_from_the_slide() -> None:
    assert _bounds(Stated(x="10", width="nonsense"), 1000, 2000) == (10, 0, 990, 2000)  # type: ignore[arg-type]


def test_bounds_never_leave_the_slide() -> None:
    stated = Stated(x="10", y="-5", width="3000", height="400")
    assert _bounds(stated, 1000, 2000) == (10, 0, 990, 395)  # type: ignore[arg-type]
    assert _bounds(Stated(x="nan", y="inf"), 1000, 2000) == (0, 0, 1000, 2000)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [b"a text that is called a slide\n" * 100, b"II*\x00\x08\x00\x00\x00\xff\x00", b"", None],
    ids=["text", "truncated header", "empty", "missing"],
)
def test_what_is_no_slide_is_a_slide_error_in_one_line(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "a.svs").write_bytes(content)
    with pytest.raises(SlideError, match=r"OpenSlide cannot open it: \w") as caught:
        OpenSlideReader(str(tmp_path / "a.svs"))
    assert "\n" not in str(caught.value)


def test_a_truncated_slide_is_a_slide_error(shared: Path, tmp_path: Path) -> None:
    whole = Path(path_of(shared, "CMU-1-Small-Region.svs")).read_bytes()
    (tmp_path / "a.svs").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SlideError, match="OpenSlide cannot open it"):
        OpenSlideReader(str(tmp_path / "a.svs"))


@pytest.fixture
def damaged(shared: Path, tmp_path: Path) -> Path:
    """A slide whose middle is overwritten: OpenSlide opens it and fails at some tiles."""
    data = bytearray(Path(path_of(shared, "CMU-1-Small-Region.svs")).read_bytes())
    start = len(data) // 3
    data[start : start + 60_000] = bytes(60_000)
    path = tmp_path / "damaged.svs"
    path.write_bytes(data)
    return path


def test_a_damaged_tile_is_lost_alone(damaged: Path) -> None:
    with closing(OpenSlideReader(str(damaged))) as reader:
        across, down = reader.info.width // 240, reader.info.height // 240
        grid = [(x * 240, y * 240) for y in range(down) for x in range(across)]
        squares = list(reader.read_squares(0, np.array(grid, np.int64), 240))
        lost = [origin for origin, square in zip(grid, squares, strict=True) if square is None]
        assert 0 < len(lost) < len(grid) / 2
        with pytest.raises(TileError):
            reader.read(0, *lost[0], 240, 240)
        kept = next(i for i in range(len(grid) - 1, 0, -1) if squares[i] is not None)
        assert np.array_equal(reader.read(0, *grid[kept], 240, 240), squares[kept])


def test_a_local_slide_is_read_where_it_lies(shared: Path, tmp_path: Path) -> None:
    path = path_of(shared, "CMU-1-Small-Region.svs")
    spool = Spool(tmp_path / "spool", 10**9)
    with open_slide(path, spool, "openslide") as reader:
        assert reader.name == "openslide"
        assert not is_spooled(path, reader)
        assert reader.bytes_read == Path(path).stat().st_size
    assert not (tmp_path / "spool").exists()


def test_a_dicom_slide_counts_the_bytes_of_all_its_files(shared: Path) -> None:
    path = Path(path_of(shared, "dicom-ICE1-WDNET-duodenum-HE-crop/*.dcm"))
    with closing(OpenSlideReader(str(path))) as reader:
        assert reader.bytes_read == sum(p.stat().st_size for p in path.parent.glob("*.dcm"))


def test_a_folder_beside_an_svs_slide_is_none_of_its_bytes(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    path.symlink_to(path_of(shared, "CMU-1-Small-Region.svs"))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "annotations.json").write_text("{}")
    with closing(OpenSlideReader(str(path))) as reader:
        assert reader.bytes_read == path.stat().st_size
