"""Hostile TIFFs: whatever a file claims, the reader refuses it, loses tiles, or reads pixels.

It never crashes, hangs or allocates without bound. These few hundred mutations take seconds;
run this file as a script for more: python tests/unit/test_tiff_fuzz.py 5000
"""

import contextlib
import random
import resource
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from written_slides import level_of, photograph, tile_entries, write_slide

from pathray.errors import SlideError, TileError
from pathray.slides import tiffindex
from pathray.slides.tiff import TiffReader, Unsupported
from pathray.slides.tiffdecode import tile_decoder

KINDS = [
    "jpeg 4:2:0", "bigtiff jpeg", "deflate predictor", "lzw", "none", "ome", "philips",
    "aperio jpeg 2000 ycbcr",
]  # fmt: skip
NASTY = [0, 1, 0x7F, 0x80, 0xFE, 0xFF]


def mutate(data: bytes, chance: random.Random, hot: list[tuple[int, int]]) -> bytes:
    """Change a few bytes, mostly within the `hot` spans: directories, tables, tile headers."""
    out = bytearray(data)
    if chance.random() < 0.1:
        del out[chance.randrange(len(out)) :]
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        start, stop = chance.choice(hot) if chance.random() < 0.8 else (0, len(data))
        at = chance.randrange(start, min(stop, len(data)))
        if at < len(out):
            out[at] = chance.choice([chance.choice(NASTY), chance.randrange(256)])
    return bytes(out)


def hot_spans(path: Path) -> list[tuple[int, int]]:
    spans = [(0, 16)]
    with tifffile.TiffFile(path) as file:
        for page in [*file.pages, *(file.pages[0].pages or [])]:
            spans.append((page.offset, page.offset + 300))
            spans += [(t.valueoffset, t.valueoffset + 40) for t in page.tags.values()]
            spans += [(o, o + 700) for o in page.dataoffsets[:3] if o]
    return spans


def read_everything(path: Path) -> None:
    """Open a slide and read some of it; only the errors of the contract may come out."""
    try:
        reader = TiffReader.open(str(path))
    except SlideError:
        return
    try:
        for level, (width, height) in enumerate(reader.info.level_sizes):
            origins = np.array([[0, 0], [200, 0], [400, 100], [width - 70, height - 70]])
            for square in reader.read_squares(level, origins, 128):
                assert square is None or square.shape == (128, 128, 3)
            with contextlib.suppress(TileError):
                assert reader.read(level, 0, 0, 300, 200).shape == (200, 300, 3)
    except SlideError as error:
        assert "bytes" in str(error)  # noqa: PT017 - a table that the file cannot give
    finally:
        reader.close()


def fuzz(folder: Path, kind: str, rounds: int, seed: int) -> float:
    """Read `rounds` mutations of a slide; returns the seconds of the slowest."""
    path = write_slide(folder / "whole.tif", kind)
    data, hot, chance = path.read_bytes(), hot_spans(path), random.Random(f"{kind}{seed}")
    slowest = 0.0
    for _ in range(rounds):
        bad = folder / "bad.tif"
        bad.write_bytes(mutate(data, chance, hot))
        tiffindex._indexes.clear()
        start = time.perf_counter()
        read_everything(bad)
        slowest = max(slowest, time.perf_counter() - start)
    return slowest


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_slides_never_escape_the_contract(tmp_path: Path, kind: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fuzz(tmp_path, kind, 40, seed=0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500 << 10  # KiB


@pytest.mark.parametrize("marker", [0xC0, 0xC2])
def test_a_jpeg_tile_that_claims_to_be_huge_is_refused_before_it_is_decoded(marker: int) -> None:
    """libjpeg would allocate 25 GB for a progressive image of 65,000 x 65,000."""
    frame = struct.pack(">BBHBHHB9B", 0xFF, marker, 17, 8, 65000, 65000, 3, *[1, 0x22, 0] * 3)
    with pytest.raises(TileError, match="65000"):
        tile_decoder(level_of(7))(
            b"\xff\xd8" + frame + b"\xff\xda\0\x0c\3" + bytes(40) + b"\xff\xd9",
            np.empty((256, 256, 3), np.uint8),
        )


def test_a_jpeg_2000_tile_that_claims_to_be_huge_is_refused_before_it_is_decoded() -> None:
    header = b"\xff\x4f\xff\x51\0\x2f\0\0" + struct.pack(">II", 60000, 60000) + bytes(80)
    with pytest.raises(TileError, match="JPEG 2000"):
        tile_decoder(level_of(33005))(header, np.empty((256, 256, 3), np.uint8))


def directory(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def test_a_chain_of_directories_that_bites_its_tail_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + directory([(256, 4, 1, 5)], following=8))
    with pytest.raises(Unsupported, match="endless"):
        TiffReader.open(str(path))


@pytest.mark.parametrize(
    ("tag", "kind", "count"),
    [(258, 3, 1 << 31), (270, 2, 1 << 31), (324, 4, 1 << 31), (330, 4, 1 << 31), (347, 7, 1 << 30)],
)
def test_a_tag_with_absurdly_many_values_is_refused(
    tmp_path: Path, tag: int, kind: int, count: int
) -> None:
    path = tmp_path / "tags.tif"
    tiled = [(256, 4, 1, 1 << 20), (257, 4, 1, 1 << 20), (322, 4, 1, 256), (323, 4, 1, 256)]
    path.write_bytes(b"II*\0\x08\0\0\0" + directory([*tiled, (tag, kind, count, 8)]) + bytes(100))
    with pytest.raises(Unsupported):
        TiffReader.open(str(path))


def test_a_deflate_bomb_is_a_lost_tile(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.tif", "none")
    offset, count = tile_entries(path)[0]
    data = bytearray(path.read_bytes())
    bomb = zlib.compress(bytes(100 << 20))
    assert len(bomb) < count
    data[offset : offset + len(bomb)] = bomb
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].tags["Compression"].valueoffset
    data[at : at + 2] = struct.pack("<H", 8)
    path.write_bytes(data)
    with pytest.raises(TileError):
        TiffReader.open(str(path)).read(0, 0, 0, 10, 10)


def test_photographs_survive_their_own_fuzzing_harness(tmp_path: Path) -> None:
    """The harness reads an unharmed slide, so the mutations above do reach the decoders."""
    path = write_slide(tmp_path / "slide.tif", "deflate")
    read_everything(path)
    assert (TiffReader.open(str(path)).read(0, 0, 0, 700, 600) == photograph()).all()


if __name__ == "__main__":
    import tempfile

    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            slowest = fuzz(Path(folder), kind, int(sys.argv[1]), seed=int(time.time()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{kind:24s} slowest {slowest:.3f} s, peak memory {peak} MiB", flush=True)
