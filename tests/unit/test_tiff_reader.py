"""The range reader: the same pixels and facts as OpenSlide, and only the bytes that are needed."""

from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from written_slides import WRITTEN, level_of, photograph, tile_entries, write_slide

from pathray.errors import SlideError, TileError
from pathray.slides import windows
from pathray.slides.tiff import TiffReader, Unsupported
from pathray.slides.tiffdecode import tile_decoder

REAL = [
    "CMU-1-Small-Region.svs",
    "TCGA-CR-7395-01A-01-TS1.svs",
    "acute-appendicitis-HE-crop.tif",
    "arachnoid-cyst-HE-crop.svs",
    "arachnoid-cyst-HE.svs",
    "duodenum-tubular-adenoma-HE-crop.svs",
    "endometrial-polyp-HE-crop.tif",
    "giardia-HE-crop.svs",
    "melanosiscoli-HE-crop.tif",
    "melanosiscoli-PAS-crop.tif",
    "metastaticsarcoma-HE-crop.tif",
]
NOT_OURS = [
    "test3-DAPI-2-387.ndpi",
    "not-openslide/kidney-48-5.tif",
    "not-openslide/pathml_smalltif.tif",
    "not-openslide/pathml_small_dicom.dcm",
    "not-openslide/small_vectra.qptiff",
]


def openslide_window(slide: openslide.OpenSlide, level: int, x: int, y: int, w: int, h: int):
    """OpenSlide's pixels of a window of `level` over a white background.

    Away from (0, 0) this is exact only where the downsample is an integer: OpenSlide
    interpolates at subpixel places.
    """
    scale = slide.level_downsamples[level]
    window = slide.read_region((round(x * scale), round(y * scale)), level, (w, h))
    white = openslide.Image.new("RGBA", window.size, (255, 255, 255, 255))
    return np.asarray(openslide.Image.alpha_composite(white, window).convert("RGB")).astype(int)


def assert_same_slide(path: Path, seed: int = 0, windows: int = 12) -> None:
    """Geometry, mpp and pixels: whole coarse levels, and random windows, also outside."""
    rng = np.random.default_rng(seed)
    reader = TiffReader.open(str(path))
    with openslide.OpenSlide(str(path)) as slide:
        assert reader.info.level_sizes == slide.level_dimensions
        assert reader.info.level_downsamples == slide.level_downsamples
        mpp = slide.properties.get("openslide.mpp-x")
        assert reader.info.mpp == (None if mpp is None else pytest.approx(float(mpp), rel=1e-12))
        for level, (width, height) in enumerate(reader.info.level_sizes):
            size = min(width, 1500), min(height, 1500)
            expected = openslide_window(slide, level, 0, 0, *size)
            assert abs(reader.read(level, 0, 0, *size) - expected).max() <= 1
            if not slide.level_downsamples[level].is_integer():
                continue
            for _ in range(windows):
                x, y = rng.integers(-300, width + 50), rng.integers(-300, height + 50)
                w, h = rng.integers(1, 600, 2)
                expected = openslide_window(slide, level, int(x), int(y), int(w), int(h))
                assert abs(reader.read(level, int(x), int(y), int(w), int(h)) - expected).max() <= 1
    reader.close()


@pytest.mark.parametrize("name", REAL)
def test_a_real_slide_reads_as_openslide_reads_it(shared: Path, name: str) -> None:
    assert_same_slide(shared / "data/slides" / name)


@pytest.mark.parametrize("name", NOT_OURS)
def test_what_is_not_a_tiled_tiff_slide_is_left_to_another_reader(shared: Path, name: str) -> None:
    with pytest.raises(Unsupported):
        TiffReader.open(str(shared / "data/slides" / name))


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_written_slide_reads_as_openslide_reads_it(tmp_path: Path, kind: str) -> None:
    assert_same_slide(write_slide(tmp_path / "slide.tif", kind))


@pytest.mark.parametrize(
    ("side", "stride"), [(224, 224), (224, 100), (64, 300), (256, 256), (700, 350), (8, 5)]
)
def test_squares_equal_windows_whatever_the_stride(tmp_path: Path, side: int, stride: int) -> None:
    reader = TiffReader.open(str(write_slide(tmp_path / "slide.tif", "deflate")))
    image = photograph()
    origins = np.array([[x, y] for y in range(-90, 600, stride) for x in range(-90, 700, stride)])
    origins = origins[:400]
    squares = [square.copy() for square in reader.read_squares(0, origins, side)]
    padded = np.pad(image, ((100, 900), (100, 900), (0, 0)), constant_values=255)
    for (x, y), square in zip(origins, squares, strict=True):
        assert (square == padded[y + 100 : y + 100 + side, x + 100 : x + 100 + side]).all()


def test_a_small_window_of_decoded_tiles_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = TiffReader.open(str(write_slide(tmp_path / "slide.tif", "deflate")))
    origins = np.array([[x, y] for y in range(0, 500, 60) for x in range(0, 600, 60)])
    plenty = [square.copy() for square in reader.read_squares(0, origins, 80)]
    grid = windows.Grid(700, 600, 256, 256, 3)

    def loads() -> int:
        return len(windows.plan_windows(grid, origins, 80, 80).loads)

    assert loads() == 9
    monkeypatch.setattr(windows, "HELD_BYTES", 0)
    assert loads() > 9
    for square, expected in zip(reader.read_squares(0, origins, 80), plenty, strict=True):
        assert (square == expected).all()


def test_squares_come_right_in_any_order(tmp_path: Path) -> None:
    reader = TiffReader.open(str(write_slide(tmp_path / "slide.tif", "deflate")))
    origins = np.random.default_rng(1).integers(0, 400, (60, 2))
    for (x, y), square in zip(origins, reader.read_squares(0, origins, 100), strict=True):
        assert (square == photograph()[y : y + 100, x : x + 100]).all()


@pytest.mark.parametrize("kind", ["deflate", "bigtiff deflate", "lzw predictor"])
def test_a_big_endian_slide_is_read(tmp_path: Path, kind: str) -> None:
    """OpenSlide 4.0.1 does not open those that tifffile writes."""
    path = write_slide(tmp_path / "slide.tif", kind, byteorder=">")
    reader = TiffReader.open(str(path))
    assert reader.info.level_sizes == ((700, 600), (175, 150))
    assert (reader.read(0, 0, 0, 700, 600) == photograph()).all()


def test_no_squares_are_no_bytes(tmp_path: Path) -> None:
    reader = TiffReader.open(str(write_slide(tmp_path / "slide.tif", "deflate")))
    before = reader.bytes_read
    assert list(reader.read_squares(0, np.empty((0, 2), np.int64), 100)) == []
    assert reader.bytes_read == before


@pytest.mark.parametrize("kind", ["jpeg 4:2:0", "deflate"])
def test_a_bad_tile_loses_only_the_squares_that_touch_it(tmp_path: Path, kind: str) -> None:
    path = write_slide(tmp_path / "slide.tif", kind)
    offset, count = tile_entries(path)[1]  # columns 256..511 of the first row of tiles
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    reader = TiffReader.open(str(path))
    origins = np.array([[x, y] for y in (0, 128, 256) for x in (0, 128, 160, 256, 400, 512)])
    lost = [square is None for square in reader.read_squares(0, origins, 128)]
    touches = [y < 256 and x + 128 > 256 and x < 512 for x, y in origins.tolist()]
    assert lost == touches
    with pytest.raises(TileError):
        reader.read(0, 0, 0, 600, 100)
    assert reader.read(0, 0, 256, 600, 100).shape == (100, 600, 3)


def test_a_jpeg_tile_that_is_cut_short_is_lost_and_not_grey(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.tif", "jpeg 4:2:0")
    offset, count = tile_entries(path)[0]
    data = bytearray(path.read_bytes())
    data[offset + count // 2 : offset + count] = bytes(count - count // 2)
    path.write_bytes(data)
    with pytest.raises(TileError, match="cut short"):
        TiffReader.open(str(path)).read(0, 0, 0, 10, 10)


def test_a_truncated_slide_loses_the_tiles_beyond_its_end(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.tif", "aperio")
    last = max(tile_entries(path))[0]
    path.write_bytes(path.read_bytes()[: last + 50])
    squares = list(TiffReader.open(str(path)).read_squares(0, np.array([[0, 0], [600, 520]]), 64))
    assert squares[0] is not None
    assert squares[1] is None


def test_a_slide_without_its_directory_is_left_to_another_reader(shared: Path, tmp_path: Path):
    whole = (shared / "data/slides/CMU-1-Small-Region.svs").read_bytes()
    path = tmp_path / "cut.svs"
    path.write_bytes(whole[:-100_000])
    with pytest.raises(Unsupported, match="cut short"):
        TiffReader.open(str(path))


def test_a_missing_slide_is_an_error_of_the_slide(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="nowhere"):
        TiffReader.open(str(tmp_path / "nowhere.svs"))


@pytest.mark.parametrize(
    "options",
    [
        {"tile": None},
        {"planarconfig": "separate"},
        {"data": photograph().astype(np.uint16)},
        {"data": photograph()[..., 0], "photometric": "minisblack"},
        {"data": np.dstack([photograph(), photograph()[..., :1]]), "extrasamples": ["unassalpha"]},
        {"compression": "zstd"},
        {"compression": "jpeg2000"},
        {"tile": (8192, 8192), "compression": "deflate"},
        {"software": "MedScan"},
        {"description": '<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"/>'},
        {"extratags": [(700, 1, 9, b"<iScan />", True)]},
        {"extratags": [(65420, 4, 1, 1, True)]},
        {"extratags": [(274, 3, 1, 3, True)]},
    ],
    ids=lambda options: " ".join(options),
)
def test_an_unusual_tiff_is_left_to_another_reader(tmp_path: Path, options: dict) -> None:
    path = tmp_path / "odd.tif"
    settings = {"data": photograph(), "tile": (256, 256), "photometric": "rgb", "metadata": None}
    tifffile.imwrite(path, **(settings | options))
    with pytest.raises(Unsupported):
        TiffReader.open(str(path))


def test_an_aperio_pyramid_with_tiles_left_out_is_left_to_openslide(
    shared: Path, tmp_path: Path
) -> None:
    data = bytearray((shared / "data/slides/arachnoid-cyst-HE-crop.svs").read_bytes())
    path = tmp_path / "holes.svs"
    with tifffile.TiffFile(shared / "data/slides/arachnoid-cyst-HE-crop.svs") as file:
        table = file.pages[0].tags["TileByteCounts"]
    data[table.valueoffset : table.valueoffset + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(Unsupported, match="left out"):
        TiffReader.open(str(path))


def test_jpeg_2000_in_ycbcr_is_converted(tmp_path: Path) -> None:
    """Aperio's compression 33003, here without subsampled chroma."""
    path = write_slide(tmp_path / "slide.svs", "aperio jpeg 2000 ycbcr")
    assert_same_slide(path)


def test_an_aperio_slide_with_subsampled_jpeg_2000_is_left_to_openslide(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.svs", "aperio jpeg 2000 ycbcr")
    data = bytearray(path.read_bytes())
    data[tile_entries(path)[0][0] + 46] = 2  # the horizontal subsampling of the second component
    path.write_bytes(data)
    with pytest.raises(Unsupported, match="subsampled"):
        TiffReader.open(str(path))


def test_subsampled_jpeg_2000_tiles_are_refused_and_not_misread() -> None:
    stream = bytearray(imagecodecs.jpeg2k_encode(photograph()[:256, :256], codecformat="J2K"))
    stream[46] = 2  # the horizontal subsampling of the second component
    with pytest.raises(TileError, match="subsampled"):
        tile_decoder(level_of(33003))(bytes(stream), np.empty((256, 256, 3), np.uint8))


def test_ome_levels_come_from_sub_directories(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.ome.tif", "ome")
    reader = TiffReader.open(str(path))
    assert reader.info.level_sizes == ((700, 600), (350, 300), (175, 150))
    assert reader.info.level_downsamples == (1, 2, 4)
    assert reader.info.mpp == pytest.approx(0.25)
    assert reader.info.mpp_source == "ome.PhysicalSizeX"
    assert (reader.read(0, 0, 0, 700, 600) == photograph()).all()
    assert (reader.read(1, 0, 0, 350, 300) == photograph()[::2, ::2]).all()
    assert (reader.read(2, 0, 0, 175, 150) == photograph()[::4, ::4]).all()


def test_a_philips_slide_is_clipped_to_its_true_size(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.tiff", "philips")
    assert_same_slide(path)
    reader = TiffReader.open(str(path))
    assert reader.info.mpp_source == "philips.DICOM_PIXEL_SPACING"
    assert reader.info.level_sizes[1] == (384, 384)


def test_a_philips_slide_with_other_levels_than_it_says_is_left_to_another_reader(
    tmp_path: Path,
) -> None:
    path = write_slide(tmp_path / "slide.tiff", "philips with a spacing too few")
    with pytest.raises(Unsupported, match="spacings"):
        TiffReader.open(str(path))


def test_a_slide_that_changed_is_parsed_anew(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.tif", "deflate")
    assert TiffReader.open(str(path)).info.width == 700
    tifffile.imwrite(path, photograph()[:, :300], tile=(128, 128), photometric="rgb")
    assert TiffReader.open(str(path)).info.width == 300
