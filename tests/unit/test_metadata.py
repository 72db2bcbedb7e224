"""The JSON that every object carries."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathray.errors import SlideError
from pathray.metadata import (
    Metadata,
    first_difference,
    metadata_of,
    read_metadata,
    refuse_changed,
    with_metadata,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=5,
)
MAPPINGS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=4)


@given(identity=MAPPINGS, provenance=MAPPINGS)
def test_metadata_come_back_from_a_schema_as_they_were(
    identity: dict[str, Any], provenance: dict[str, Any]
) -> None:
    metadata = Metadata(identity, provenance)
    schema = with_metadata(pa.schema([("x", pa.int32())]), metadata)
    assert metadata_of(schema) == metadata


def test_equal_metadata_are_equal_bytes_whatever_their_order() -> None:
    assert (
        Metadata({"a": 1, "b": 2}, {"c": 3}).to_json()
        == Metadata({"b": 2, "a": 1}, {"c": 3}).to_json()
    )


def test_a_number_that_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Metadata({"mpp": float("nan")}).to_json()


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"identity": {}}', "no json"])
def test_what_is_no_metadata_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"not Pathray metadata|Expecting value"):
        Metadata.from_json(text)


def test_a_foreign_schema_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not a Pathray object"):
        metadata_of(pa.schema([("x", pa.int32())]))


def test_metadata_are_read_from_the_footer_of_an_object(tmp_path: Path) -> None:
    metadata = Metadata({"tile_size": 224}, {"slide": "µ.svs"})
    schema = with_metadata(pa.schema([("x", pa.int32())]), metadata)
    pq.write_table(pa.table({"x": pa.array([1], pa.int32())}, schema=schema), tmp_path / "a")
    assert read_metadata(str(tmp_path / "a")) == metadata


@pytest.mark.parametrize("content", [b"", b"no parquet", None])
def test_a_damaged_or_foreign_object_fails_its_slide_and_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "a.parquet"
    if content is None:
        pq.write_table(pa.table({"x": [1]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(SlideError, match=r"a\.parquet is damaged .*: remove it") as caught:
        read_metadata(str(path))
    assert "\n" not in str(caught.value)


def test_the_first_difference_is_named_with_both_values() -> None:
    assert first_difference({"a": 1, "mpp": 0.5}, {"a": 1, "mpp": 0.25}) == (
        "mpp is 0.25 there and 0.5 now"
    )
    assert first_difference({"a": 1, "new": True}, {"a": 1}) == "new is None there and True now"
    assert first_difference({"a": 1}, {"a": 1}) is None


def test_a_slide_that_changed_fails_with_the_object_and_the_cure() -> None:
    theirs = Metadata({"source": {"size": 1}})
    with pytest.raises(SlideError, match=r"changed since out/a\.parquet .*use another --out"):
        refuse_changed("out/a.parquet", {"source": {"size": 2}}, theirs)
    refuse_changed("out/a.parquet", {"source": {"size": 1}}, theirs)
