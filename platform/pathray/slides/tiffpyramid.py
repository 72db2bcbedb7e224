"""Which pages of a TIFF are the levels of a slide, and how large its pixels are.

The answers are OpenSlide's, vendor by vendor, so that a slide has the same levels whichever
reader serves it; only OME-TIFF goes further, because OpenSlide does not look into SubIFDs.
What is not understood raises `Unsupported`.
"""

import html
import math
import re
from dataclasses import dataclass, replace

from pathray.slides.tiffdirectory import Directory, Table, TiffFile, Unsupported
from pathray.slides.tiffphilips import is_philips, philips_spacings

MAX_LEVELS = 64
MAX_SIDE = 1 << 24
MAX_TILE_SIDE = 4096
MAX_TILES = 1 << 22
"""In all levels together: half a million pixels a side in tiles of 256."""

NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE = 1, 5, 7, 8, 32946
J2K_YCBCR, J2K_RGB = 33003, 33005
RGB, YCBCR = 2, 6
REDUCED = 1
CENTIMETRE, INCH = 3, 2
MICRONS = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}

Resolution = tuple[float | None, str | None]
"""Microns per pixel along x, and the property that says so."""


@dataclass(frozen=True)
class Level:
    """One pyramid level. `width, height` are what is shown; the tiles may reach beyond."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    across: int
    down: int
    compression: int
    photometric: int
    predictor: int
    jpeg_tables: bytes | None
    offsets: Table
    byte_counts: Table

    @property
    def tile_bytes(self) -> int:
        """Bytes of one decoded tile."""
        return self.tile_width * self.tile_height * 3


@dataclass(frozen=True)
class Pyramid:
    """The levels from the finest to the coarsest, and the size of a level-0 pixel."""

    vendor: str
    levels: tuple[Level, ...]
    downsamples: tuple[float, ...]
    mpp: float | None
    mpp_source: str | None


def read_pyramid(file: TiffFile, uri: str) -> Pyramid:
    """The slide in a TIFF file. Raises Unsupported where another reader should try."""
    pages = list(file.directories())
    if not pages or not pages[0].tiled:
        raise Unsupported(f"{uri}: a TIFF whose first image is not tiled")
    first = pages[0]
    description = first.text("description")
    try:
        _refuse_foreign(pages, description)
        if description.startswith("Aperio"):
            tiled = [page for page in pages if page.tiled]
            return _pyramid("aperio", tiled, _aperio_mpp(description))
        chosen = [first, *(page for page in pages[1:] if page.tiled and _is_reduced(page))]
        if is_philips(first.text("software"), description):
            return _philips(_pyramid("philips", chosen, _tiff_mpp(first)), description)
        vendor, resolution = "generic-tiff", _tiff_mpp(first)
        if (pixels := _ome_pixels(description)) is not None:
            vendor, resolution = "ome", _ome_mpp(pixels, first) or resolution
            chosen += [page for page in file.sub_directories(first) if page.tiled]
        chosen.sort(key=lambda page: -page.integer("width", 0))
        return _pyramid(vendor, chosen, resolution)
    except ValueError as error:
        raise Unsupported(f"{uri}: {error}") from error


def _refuse_foreign(pages: list[Directory], description: str) -> None:
    """Formats that OpenSlide reads by rules of their own."""
    first = pages[0]
    if any("ndpi" in page.values for page in pages):
        raise ValueError("Hamamatsu NDPI")
    if b"iScan" in first.texts.get("xmp", b""):
        raise ValueError("Ventana BIF")
    if first.text("software").startswith("MedScan"):
        raise ValueError("Trestle TIFF")
    if "leica-microsystems.com/scn" in description[:65536]:
        raise ValueError("Leica SCN")


def _is_reduced(page: Directory) -> bool:
    return bool(page.integer("subfile_type", 0) & REDUCED)


def _pyramid(vendor: str, pages: list[Directory], resolution: Resolution) -> Pyramid:
    if len(pages) > MAX_LEVELS:
        raise ValueError(f"{len(pages)} pyramid levels")
    levels = tuple(_level(page, vendor) for page in pages)
    if sum(level.across * level.down for level in levels) > MAX_TILES:
        raise ValueError("more tiles than a slide can have")
    width, height = levels[0].width, levels[0].height
    downsamples = tuple((width / level.width + height / level.height) / 2 for level in levels)
    if list(downsamples) != sorted(downsamples):
        raise ValueError("the pyramid levels are not in order")
    return Pyramid(vendor, levels, downsamples, *resolution)


def _level(page: Directory, vendor: str) -> Level:
    """Check one page; whatever differs from 8-bit interleaved RGB in tiles is refused."""
    for name, default, wanted in (
        ("bits", 1, 8),
        ("sample_format", 1, 1),
        ("samples", 1, 3),
        ("planar", 1, 1),
        ("fill_order", 1, 1),
        ("orientation", 1, 1),
        ("image_depth", 1, 1),
    ):
        if any(value != wanted for value in page.values.get(name, (default,))):
            raise ValueError(f"a level with {name} {page.values.get(name, default)}")
    width, height = page.integer("width", 0), page.integer("height", 0)
    tile_width, tile_height = page.integer("tile_width", 0), page.integer("tile_height", 0)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ValueError(f"a level of {width} x {height} pixels")
    if not (8 <= tile_width <= MAX_TILE_SIDE and 8 <= tile_height <= MAX_TILE_SIDE):
        raise ValueError(f"tiles of {tile_width} x {tile_height} pixels")
    across, down = -(-width // tile_width), -(-height // tile_height)
    offsets, byte_counts = page.tables.get("tile_offsets"), page.tables.get("tile_byte_counts")
    if offsets is None or byte_counts is None:
        raise ValueError("a level without a tile table")
    if {offsets.count, byte_counts.count} != {across * down}:
        raise ValueError(f"a tile table of {offsets.count} entries for {across} x {down} tiles")
    level = Level(
        width=width,
        height=height,
        tile_width=tile_width,
        tile_height=tile_height,
        across=across,
        down=down,
        compression=page.integer("compression", NONE),
        photometric=page.integer("photometric", -1),
        predictor=page.integer("predictor", 1),
        jpeg_tables=page.texts.get("jpeg_tables"),
        offsets=offsets,
        byte_counts=byte_counts,
    )
    _check_coding(level, vendor)
    return level


def _check_coding(level: Level, vendor: str) -> None:
    if level.compression == JPEG:
        known = level.photometric in (RGB, YCBCR)
    elif level.compression in (J2K_YCBCR, J2K_RGB):
        known = vendor == "aperio"
    elif level.compression in (LZW, DEFLATE, OLD_DEFLATE):
        known = level.photometric == RGB and level.predictor in (1, 2)
    else:
        known = level.compression == NONE and level.photometric == RGB
    if not known:
        raise ValueError(
            f"compression {level.compression} with photometric {level.photometric}"
            f" and predictor {level.predictor}"
        )


def _philips(pyramid: Pyramid, description: str) -> Pyramid:
    """Correct the padded sizes of a Philips pyramid."""
    own, spacings = philips_spacings(description)
    if len(spacings) != len(pyramid.levels):
        raise ValueError(f"{len(spacings)} spacings for {len(pyramid.levels)} Philips levels")
    levels, downsamples = [pyramid.levels[0]], [1.0]
    for level, (column, row) in zip(pyramid.levels[1:], spacings[1:], strict=True):
        downsample = round((column / spacings[0][0] + row / spacings[0][1]) / 2)
        width, height = levels[0].width // downsample, levels[0].height // downsample
        if not (0 < width <= level.width and 0 < height <= level.height):
            raise ValueError("a Philips level is smaller than its spacing says")
        levels.append(replace(level, width=width, height=height))
        downsamples.append(float(downsample))
    corrected = replace(pyramid, levels=tuple(levels), downsamples=tuple(downsamples))
    if downsamples != sorted(downsamples):
        raise ValueError("the pyramid levels are not in order")
    if own is None:
        return corrected
    return replace(corrected, mpp=1e3 * own[0], mpp_source="philips.DICOM_PIXEL_SPACING")


def _number(text: str) -> float | None:
    """A decimal number, also with a decimal comma, or None."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _aperio_mpp(description: str) -> Resolution:
    pairs = (item.split("=", 1) for item in description.split("|")[1:] if "=" in item)
    properties = {name.strip(): value for name, value in pairs}
    mpp = _number(properties.get("MPP", ""))
    return (mpp, "aperio.MPP") if mpp is not None else (None, None)


def _tiff_mpp(page: Directory) -> Resolution:
    pixels = page.values.get("x_resolution", (0,))[0]
    unit = {CENTIMETRE: 1e4, INCH: 25400.0}.get(page.integer("resolution_unit", INCH))
    if unit is None or not (pixels > 0 and math.isfinite(pixels)):
        return None, None
    return unit / pixels, "tiff.XResolution"


def _ome_pixels(description: str) -> dict[str, str] | None:
    """The attributes of the first image of an OME-XML description; None in any other."""
    if "<OME" not in description[:4096] or not description.rstrip().endswith("OME>"):
        return None
    element = re.search(r"<(?:\w+:)?Pixels\s([^>]*)>", description)
    return dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', html.unescape(element[1]))) if element else {}


def _ome_mpp(pixels: dict[str, str], page: Directory) -> Resolution | None:
    """The pixel size of the first image, which must be one RGB plane and the first page."""
    wanted = {"SizeX": page.integer("width", 0), "SizeY": page.integer("height", 0)}
    wanted |= {"SizeZ": 1, "SizeT": 1, "SizeC": 3}
    for name, value in wanted.items():
        if pixels.get(name) != str(value):
            raise ValueError(f"OME-TIFF with {name} {pixels.get(name)} where {value} is read")
    size = _number(pixels.get("PhysicalSizeX", ""))
    unit = MICRONS.get(pixels.get("PhysicalSizeXUnit", "µm"))
    return (size * unit, "ome.PhysicalSizeX") if size is not None and unit else None
