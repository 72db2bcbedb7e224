"""The JSON that every Parquet object carries under the schema key `pathray`.

`identity` decides whether a rerun may resume; `provenance` is recorded and never compared.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pathray import storage
from pathray.errors import SlideError, one_line

if TYPE_CHECKING:  # a job's --help must not pay for pyarrow
    import pyarrow as pa

KEY = b"pathray"
FORMAT_VERSION = 1
COORDINATES = "x, y: top-left corner of the tile in level-0 pixels"


@dataclass(frozen=True)
class Metadata:
    """Identity and provenance of one object, JSON-able values only."""

    identity: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Sorted keys, so that equal metadata are equal bytes."""
        content = {"identity": dict(self.identity), "provenance": dict(self.provenance)}
        return json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Metadata":
        """The inverse of `to_json`; ValueError when a part is missing."""
        content = json.loads(text)
        try:
            return cls(content["identity"], content["provenance"])
        except (KeyError, TypeError) as error:
            raise ValueError("not Pathray metadata: identity or provenance is missing") from error


def with_metadata(schema: "pa.Schema", metadata: Metadata) -> "pa.Schema":
    """The schema with the metadata attached."""
    return schema.with_metadata({KEY: metadata.to_json().encode()})


def metadata_of(schema: "pa.Schema") -> Metadata:
    """The metadata of a schema; ValueError where it carries none."""
    held = (schema.metadata or {}).get(KEY)
    if held is None:
        raise ValueError("not a Pathray object: its Parquet schema has no key `pathray`")
    return Metadata.from_json(held)


def read_metadata(uri: str) -> Metadata:
    """The metadata of a Parquet object; only its footer is fetched.

    SlideError when the object is damaged or not one of ours.
    """
    import pyarrow.parquet as pq

    try:
        with storage.open_for_reading(uri) as file:
            return metadata_of(pq.read_schema(file))
    except ValueError as error:  # pyarrow's own are ValueErrors too
        raise SlideError(f"{uri} is damaged ({one_line(error, 120)}): remove it") from error


def first_difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """The first identity key whose values differ, as a phrase; None when all agree."""
    for key in sorted({*mine, *theirs}):
        if mine.get(key) != theirs.get(key):
            return f"{key} is {theirs.get(key)!r} there and {mine.get(key)!r} now"
    return None


def digest_of_lines(lines: Iterable[str]) -> str:
    """sha256 (hex) of lines of text."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def refuse_changed(uri: str, mine: Mapping[str, Any], theirs: Metadata) -> None:
    """SlideError when an object was made from another version of its slide."""
    difference = first_difference(mine, theirs.identity)
    if difference:
        raise SlideError(
            f"the slide changed since {uri} was made ({difference}): "
            "remove that object, or use another --out"
        )
