"""Tile shards: Parquet that anything can read."""

import io
from contextlib import closing
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathray.errors import TileError
from pathray.metadata import Metadata
from pathray.slides.openslide import OpenSlideReader
from pathray.slides.reader import Pixels
from pathray.tilestore import (
    JPEG,
    PNG,
    Shard,
    decode_image,
    encode_image,
    parse_shard_name,
    read_shard,
    serialise,
    shard_name,
)

METADATA = Metadata({"tile_size": 224, "mpp": 0.25}, {"slide": "s3://bucket/a.svs"})
EIGHT_MB = 8 * 1024 * 1024
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@pytest.fixture(scope="module")
def tile(shared: Path) -> Pixels:
    """A real H&E tile, uint8 (224, 224, 3)."""
    reader = OpenSlideReader(str(shared / "data/slides/CMU-1-Small-Region.svs"))
    with closing(reader):
        return reader.read(0, 1000, 1000, 224, 224)


def shard(images: list[bytes], patient_id: str | None = "P1") -> Shard:
    n = len(images)
    x, y = np.arange(n, dtype=np.int32) * 224, np.full(n, 448, np.int32)
    tissue = np.linspace(0, 1, n, dtype=np.float32)
    return Shard("slide-1", patient_id, x, y, tissue, images, METADATA)


@given(slide_id=IDS, piece=st.integers(0, 10**7))
def test_a_shard_name_tells_its_slide_and_piece_whatever_the_id(slide_id: str, piece: int) -> None:
    assert parse_shard_name(shard_name(slide_id, piece)) == (slide_id, piece)


@given(name=st.text("a-0٣.parquet", max_size=12).map(lambda text: text + ".parquet"))
def test_only_a_shards_own_name_is_taken_for_one(name: str) -> None:
    parsed = parse_shard_name(name)
    assert parsed is None or shard_name(*parsed) == name


@pytest.mark.parametrize(
    "name",
    ["_index.parquet", "slide.parquet", "slide-1.parquet", "slide-000001.parquet", "-00000.parquet",
     "slide-00001.json", "slide-٠٠٠٠١.parquet"],
)  # fmt: skip
def test_other_files_are_not_taken_for_shards(name: str) -> None:
    assert parse_shard_name(name) is None


def test_a_shard_has_exactly_the_columns_of_the_contract(tile: Pixels) -> None:
    table = pq.read_table(io.BytesIO(serialise(shard([encode_image(tile, JPEG)] * 3))))
    assert table.schema.names == ["slide_id", "patient_id", "x", "y", "tissue", "image"]
    assert [str(kind) for kind in table.schema.types] == [
        "string", "string", "int32", "int32", "float", "binary",
    ]  # fmt: skip
    assert table["slide_id"].to_pylist() == ["slide-1"] * 3
    assert table["x"].to_pylist() == [0, 224, 448]
    held = Metadata.from_json(table.schema.metadata[b"pathray"])
    assert held == METADATA


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("patient_id", ["P1", None])
def test_a_shard_is_read_back_as_it_was_put(
    tmp_path: Path, tile: Pixels, n: int, patient_id: str | None
) -> None:
    mine = shard([encode_image(tile, JPEG)] * n, patient_id)
    (tmp_path / "a.parquet").write_bytes(serialise(mine))
    theirs = read_shard(str(tmp_path / "a.parquet"))
    assert list(theirs.images) == list(mine.images)
    assert theirs.metadata == mine.metadata
    for name in ("x", "y", "tissue"):
        assert getattr(theirs, name).dtype == getattr(mine, name).dtype
        assert (getattr(theirs, name) == getattr(mine, name)).all()
    if n:
        assert (theirs.slide_id, theirs.patient_id) == ("slide-1", patient_id)


@settings(max_examples=8)
@given(sizes=st.lists(st.integers(1, 3_000_000), min_size=1, max_size=12))
def test_row_groups_are_at_most_8_mb_and_hold_the_tiles_in_order(sizes: list[int]) -> None:
    images = [bytes([i]) * size for i, size in enumerate(sizes)]
    file = pq.ParquetFile(io.BytesIO(serialise(shard(images))))
    groups = [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)]
    assert max(groups) <= EIGHT_MB
    assert len(groups) <= 1 + 2 * sum(sizes) / (EIGHT_MB - 3_100_000)
    assert file.read()["image"].to_pylist() == images


def test_row_groups_of_many_small_tiles_are_at_most_8_mb_too() -> None:
    file = pq.ParquetFile(io.BytesIO(serialise(shard([b"x" * 60] * 200_000))))
    groups = [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)]
    assert max(groups) <= EIGHT_MB


def test_a_tile_larger_than_8_mb_has_a_row_group_of_its_own() -> None:
    file = pq.ParquetFile(io.BytesIO(serialise(shard([b"a", b"b" * (EIGHT_MB + 1), b"c"]))))
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [1, 1, 1]


def test_the_same_shard_is_the_same_bytes(tile: Pixels) -> None:
    assert serialise(shard([encode_image(tile, JPEG)])) == serialise(
        shard([encode_image(tile.copy(), JPEG)])
    )


def test_png_tiles_are_the_pixels_themselves(tile: Pixels) -> None:
    assert (decode_image(encode_image(tile, PNG)) == tile).all()


def test_jpeg_tiles_are_444_of_quality_90(tile: Pixels) -> None:
    data = encode_image(tile, JPEG)
    frame = data[data.index(b"\xff\xc0") :]
    components = [frame[10 + 3 * i + 1] for i in range(3)]
    assert components == [0x11, 0x11, 0x11]
    # The first luminance entry of the standard's table, 16, is 3 at quality 90.
    assert data[data.index(b"\xff\xdb") + 5] == 3
    assert np.abs(decode_image(data).astype(int) - tile).mean() < 3


def test_a_tile_that_is_a_view_is_encoded_as_it_looks(tile: Pixels) -> None:
    view = tile[::2, ::-1]
    assert (decode_image(encode_image(view, PNG)) == view).all()
    assert encode_image(view, JPEG) == encode_image(view.copy(), JPEG)


def test_a_stored_tile_is_an_ordinary_jpeg(tile: Pixels) -> None:
    import cv2

    data = encode_image(tile, JPEG)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(other.astype(int) - decode_image(data)).max() <= 1


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("codec", [JPEG, PNG])
def test_a_damaged_tile_is_a_tile_error(tile: Pixels, codec: str, share: float) -> None:
    data = encode_image(tile, codec)
    with pytest.raises(TileError):
        decode_image(data[: int(len(data) * share)])


def test_a_grey_tile_is_a_tile_error_and_not_a_flat_array(tile: Pixels) -> None:
    with pytest.raises(TileError, match="RGB"):
        decode_image(imagecodecs.jpeg8_encode(np.ascontiguousarray(tile[..., 0])))


def test_another_parquet_file_is_a_value_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="not a tile shard: its columns are a"):
        read_shard(str(tmp_path / "a.parquet"))
