"""Small slides written for the tests, one for each way a TIFF slide can be coded."""

from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from pathray.slides.tiffdirectory import Table
from pathray.slides.tiffpyramid import Level

TILE = {"tile": (256, 256), "photometric": "rgb"}
MPP = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}

WRITTEN: dict[str, dict[str, Any]] = {
    "none": {},
    "deflate": {"compression": "deflate", **MPP},
    "deflate predictor": {"compression": "deflate", "predictor": True},
    "lzw": {"compression": "lzw", "resolution": (50800, 50800), "resolutionunit": "INCH"},
    "lzw predictor": {"compression": "lzw", "predictor": True},
    "jpeg 4:4:4": {"compression": "jpeg", "subsampling": (1, 1)},
    "jpeg 4:2:2": {"compression": "jpeg", "subsampling": (2, 1)},
    "jpeg 4:2:0": {"compression": "jpeg", "subsampling": (2, 2)},
    "jpeg rgb": {"compression": "jpeg", "compressionargs": {"outcolorspace": "rgb"}},
    "bigtiff jpeg": {"compression": "jpeg", "bigtiff": True},
    "bigtiff deflate": {"compression": "deflate", "bigtiff": True},
    "small tiles": {"compression": "jpeg", "tile": (16, 32)},
    "one tile": {"compression": "jpeg", "tile": (1024, 1024)},
    "missing tiles": {"compression": "jpeg", "missing": (0, 4, 8)},
    "aperio": {
        "compression": "jpeg",
        "description": "Aperio Image\r\n700x600|AppMag=40|MPP = 0,25",
    },
    "aperio odd mpp": {"compression": "jpeg", "description": "Aperio Image\r\n|MPP = abc", **MPP},
    "aperio missing tile": {
        "compression": "jpeg",
        "description": "Aperio Image\r\n700x600|MPP = 0.5",
        "missing": (1,),
    },
    "zero resolution": {"resolution": ((0, 1), (0, 1)), "resolutionunit": "CENTIMETER"},
}


@cache
def photograph() -> NDArray[np.uint8]:
    """600 x 700 RGB, smooth with sharp edges, the same every time."""
    rng = np.random.default_rng(0)
    waves = np.cumsum(np.cumsum(rng.normal(0, 0.3, (600, 700, 3)), 0), 1)
    return np.clip(waves % 500 - 100, 0, 255).astype(np.uint8)


def write_slide(path: Path, kind: str, byteorder: str | None = None) -> Path:
    """Write the slide of that kind: a pyramid of two levels, or what its name says."""
    if kind == "ome":
        return _write_ome(path)
    if kind.startswith("philips"):
        return _write_philips(path, spacings=1 if "too few" in kind else 2)
    if kind == "aperio jpeg 2000 ycbcr":
        return _write_aperio_ycbcr(path)
    options = TILE | WRITTEN[kind]
    missing = options.pop("missing", ())
    single = options.get("description", "").startswith("Aperio")
    reduced = {key: options[key] for key in options if key not in ("description", "bigtiff")}
    with tifffile.TiffWriter(
        path, bigtiff=options.pop("bigtiff", False), byteorder=byteorder
    ) as writer:
        writer.write(photograph(), metadata=None, **options)
        if not single:
            writer.write(photograph()[::4, ::4], metadata=None, subfiletype=1, **reduced)
            # Neither of these is a level: one is not marked as reduced, one is not tiled.
            writer.write(photograph()[::2, ::2], metadata=None, **reduced)
            writer.write(photograph()[::8, ::8], metadata=None, subfiletype=1)
    for number in missing:
        leave_out(path, number)
    return path


def tile_entries(path: Path) -> list[tuple[int, int]]:
    """Offset and byte count of each tile of the first level."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        return list(zip(page.dataoffsets, page.databytecounts, strict=True))


def leave_out(path: Path, number: int) -> None:
    """Set offset and byte count of a tile of the first level to zero."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = file.pages[0].tags[name]
            size = {3: 2, 4: 4, 16: 8}[tag.dtype]
            at = tag.valueoffset + number * size
            data[at : at + size] = bytes(size)
    path.write_bytes(data)


def level_of(compression: int, photometric: int = 2, tables: bytes | None = None) -> Level:
    """A level of one tile of 256 x 256 pixels, for the decoders."""
    nowhere = Table(0, "<u4", 1)
    return Level(256, 256, 256, 256, 1, 1, compression, photometric, 1, tables, nowhere, nowhere)


def _write_ome(path: Path) -> Path:
    metadata = {"axes": "YXS", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm"}
    with tifffile.TiffWriter(path, ome=True) as writer:
        options = TILE | {"compression": "deflate"}
        writer.write(photograph(), subifds=2, metadata=metadata, **options)
        writer.write(photograph()[::2, ::2], subfiletype=1, **options)
        writer.write(photograph()[::4, ::4], subfiletype=1, **options)
    return path


def _write_philips(path: Path, spacings: int) -> Path:
    """Two levels padded to whole tiles, the second showing only 384 of its 512 pixels."""
    items = "".join(
        '<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING">'
        f'"{0.00025 * 2**level}" "{0.00026 * 2**level}"</Attribute></DataObject>'
        for level in range(spacings)
    )
    description = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array><DataObject ObjectType="DPScannedImage">'
        '<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>'
        '<Attribute Name="DICOM_PIXEL_SPACING">"0.00025" "0.00026"</Attribute>'
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{items}</Array>'
        "</Attribute></DataObject></Array></Attribute></DataObject>"
    )
    image = np.pad(photograph(), ((0, 168), (0, 68), (0, 0)), mode="edge")  # 768 x 768
    reduced = np.pad(image[::2, ::2], ((0, 128), (0, 128), (0, 0)))  # 384 in 512 x 512
    options = TILE | {"compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, description=description, software="Philips DP v1.0", **options)
        writer.write(reduced, subfiletype=1, software="Philips DP v1.0", **options)
    leave_out(path, 4)
    return path


def _write_aperio_ycbcr(path: Path) -> Path:
    """Tiles of luma and chroma as three full planes in JPEG 2000, compression 33003."""
    image = np.pad(photograph(), ((0, 168), (0, 68), (0, 0)), mode="edge").astype(float)
    red, green, blue = np.moveaxis(image, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = 128 + 0.564 * (blue - luma), 128 + 0.713 * (red - luma)
    planes = np.clip(np.rint(np.dstack([luma, *chroma])), 0, 255).astype(np.uint8)
    tiles = (
        imagecodecs.jpeg2k_encode(
            planes[y : y + 256, x : x + 256].copy(), codecformat="J2K", mct=False, level=0
        )
        for y in range(0, 768, 256)
        for x in range(0, 768, 256)
    )
    description = "Aperio Image Library\r\n700x600 J2K/YUV16|MPP = 0.5"
    tifffile.imwrite(
        path, tiles, shape=(600, 700, 3), dtype=np.uint8, compression=33003, metadata=None,
        description=description, **TILE,
    )  # fmt: skip
    return path
