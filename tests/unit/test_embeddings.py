"""Embeddings: one Parquet object a slide."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pathray.embeddings import Embeddings, read_embeddings, to_float16, write_embeddings
from pathray.errors import SlideError
from pathray.metadata import Metadata

METADATA = Metadata({"precision": "fp32"}, {"encoder": "test"})


def piece(n: int, dim: int, first: int = 0) -> Embeddings:
    rng = np.random.default_rng(first)
    return Embeddings(
        x=np.arange(first, first + n, dtype=np.int32) * 224,
        y=np.full(n, 448, np.int32),
        tissue=rng.random(n, np.float32),
        vectors=rng.normal(size=(n, dim)).astype(np.float16),
        metadata=METADATA,
    )


def test_embeddings_have_exactly_the_columns_of_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    assert write_embeddings(path, [piece(3, 7)], 7, METADATA) == 3
    schema = pq.read_schema(path)
    assert schema.names == ["x", "y", "tissue", "embedding"]
    assert [schema.field(i).type for i in range(3)] == [pa.int32(), pa.int32(), pa.float32()]
    kind = schema.field("embedding").type
    assert (kind.list_size, kind.value_type) == (7, pa.float16())
    assert Metadata.from_json(schema.metadata[b"pathray"]) == METADATA


@pytest.mark.parametrize("counts", [[], [0], [1], [5, 5, 2], [0, 3]])
def test_pieces_are_joined_in_order_and_read_back(tmp_path: Path, counts: list[int]) -> None:
    path = tmp_path / "a.parquet"
    pieces = [piece(n, 5, 100 * i) for i, n in enumerate(counts)]
    assert write_embeddings(path, iter(pieces), 5, METADATA) == sum(counts)
    joined = read_embeddings(str(path))
    assert joined.metadata == METADATA
    assert joined.vectors.shape == (sum(counts), 5)
    assert joined.vectors.dtype == np.float16
    for name in ("x", "y", "tissue", "vectors"):
        mine = [getattr(each, name) for each in pieces] or [getattr(piece(0, 5), name)]
        assert getattr(joined, name).dtype == mine[0].dtype
        assert np.array_equal(getattr(joined, name), np.concatenate(mine))


def test_vectors_are_read_by_plain_pyarrow(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    mine = piece(4, 3)
    write_embeddings(path, [mine], 3, METADATA)
    assert np.array_equal(
        np.array(pq.read_table(path)["embedding"].to_pylist(), np.float16), mine.vectors
    )


def test_the_same_pieces_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_embeddings(tmp_path / name, [piece(6, 8), piece(4, 8, 9)], 8, METADATA)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_vectors_that_are_a_view_are_written_as_they_look(tmp_path: Path) -> None:
    mine = piece(6, 8)
    view = Embeddings(mine.x, mine.y, mine.tissue, mine.vectors[::-1], METADATA)
    write_embeddings(tmp_path / "a", [view], 8, METADATA)
    assert np.array_equal(read_embeddings(str(tmp_path / "a")).vectors, mine.vectors[::-1])


def test_a_tile_shard_is_not_taken_for_embeddings(tmp_path: Path) -> None:
    from pathray.tilestore import Shard, serialise

    empty = np.empty(0, np.int32)
    shard = Shard("a", None, empty, empty, empty.astype(np.float32), [], METADATA)
    (tmp_path / "a").write_bytes(serialise(shard))
    with pytest.raises(ValueError, match="not embeddings: the columns are slide_id"):
        read_embeddings(str(tmp_path / "a"))


def test_a_foreign_parquet_file_is_a_value_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a")
    with pytest.raises(ValueError, match="not a Pathray object"):
        read_embeddings(str(tmp_path / "a"))
    (tmp_path / "b").write_bytes(b"no parquet at all")
    with pytest.raises(ValueError, match="Parquet"):
        read_embeddings(str(tmp_path / "b"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_non_finite_embedding_fails_the_slide_and_says_of_how_many_tiles(value: float) -> None:
    vectors = np.zeros((4, 3), np.float32)
    vectors[1:3, 2] = value
    with pytest.raises(SlideError, match=r"embedding of 2 tile\(s\) is not finite"):
        to_float16(vectors)


def test_an_embedding_beyond_float16_fails_the_slide() -> None:
    with pytest.raises(SlideError, match=r"1 tile\(s\) exceeds float16's 65504"):
        to_float16(np.array([[0.0, 70_000.0], [1.0, 2.0]], np.float32))


def test_finite_embeddings_are_rounded_to_float16() -> None:
    stored = to_float16(np.array([[65504.0, 0.1]], np.float32))
    assert stored.dtype == np.float16
    assert stored.tolist() == [[65504.0, float(np.float16(0.1))]]
