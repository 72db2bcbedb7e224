"""The cohort: which slides, whose, by which name."""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pathray import storage
from pathray.errors import PathrayError, RequestError
from pathray.slides.companions import EXTENSIONS, dicom_series, suffix

TABLES = (".csv", ".parquet")
_SAFE_ID = re.compile(r"[^_./\\][^/\\\x00-\x1f]*")


@dataclass(frozen=True)
class Slide:
    """One slide of a cohort. `slide_id` names its artefacts; `patient_id` may be unknown."""

    slide_id: str
    uri: str
    patient_id: str | None = None


def read_cohort(slides: str) -> list[Slide]:
    """The slides behind `--slides`, sorted by slide_id.

    Takes a cohort table (CSV or Parquet with a column `slide`, optional `slide_id` and
    `patient_id`), a directory or prefix, a glob, or one slide. Raises RequestError when
    nothing is there, a column is missing or two slides share a slide_id.
    """
    uri = storage.absolute(slides)
    try:
        found = _table(uri) if suffix(uri) in TABLES else _listing(uri)
    except PathrayError:
        raise
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--slides: {storage.reason(uri, error)}") from error
    _check(found, slides)
    return sorted(found, key=lambda slide: slide.slide_id)


def _listing(uri: str) -> list[Slide]:
    if any(mark in uri for mark in "*?["):
        entries = storage.glob(uri)
        if not entries:
            raise RequestError(f"--slides: nothing matches {uri}")
    elif storage.exists(uri):
        return [Slide(storage.stem(uri), uri)]
    else:
        entries = storage.list_objects(uri)
        if not entries:
            missing = "is empty" if storage.is_prefix(uri) else "does not exist"
            raise RequestError(f"--slides: {uri} {missing}")
    slides = [entry.uri for entry in entries if suffix(entry.uri) in EXTENSIONS]
    if not slides:
        raise RequestError(
            f"--slides: no slide among the {len(entries)} files of {uri}; "
            f"known suffixes: {' '.join(sorted(EXTENSIONS))}"
        )
    return [Slide(storage.stem(slide), slide) for slide in _one_a_series(slides)]


def _one_a_series(uris: Sequence[str]) -> list[str]:
    """DICOM slides are several files: keep the first file of each series."""
    kept: dict[str, str] = {}
    for uri in uris:
        series = dicom_series(uri) if suffix(uri) == ".dcm" else None
        kept.setdefault(f"{storage.parent(uri)} {series}" if series else uri, uri)
    return list(kept.values())


def _table(uri: str) -> list[Slide]:
    rows = read_table(uri)
    if not rows:
        raise RequestError(f"--slides: the cohort table {uri} has no rows")
    if "slide" not in rows[0]:
        raise RequestError(
            f"--slides: the cohort table {uri} has no column `slide` "
            f"(it has: {', '.join(rows[0])}); add one with a path or URI for each slide"
        )
    base = storage.parent(uri)
    return [_row(row, base, number) for number, row in enumerate(rows, start=1)]


def _row(row: Mapping[str, str], base: str, number: int) -> Slide:
    uri = (row["slide"] or "").strip()
    if not uri:
        raise RequestError(f"--slides: row {number} of the cohort table has no slide")
    if storage.is_local(uri) and not storage.local_path(uri).startswith(("/", "~")):
        uri = storage.join(base, uri)
    uri = storage.absolute(uri)
    return Slide(row.get("slide_id") or storage.stem(uri), uri, row.get("patient_id") or None)


def read_table(uri: str) -> list[dict[str, str]]:
    """Rows of a CSV or Parquet table as text; an empty cell is an empty string."""
    data = storage.read_bytes(uri)
    if suffix(uri) == ".csv":
        return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    import pyarrow.parquet as pq

    rows = pq.read_table(io.BytesIO(data)).to_pylist()
    return [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]


def _check(slides: Sequence[Slide], asked: str) -> None:
    counts = Counter(slide.slide_id for slide in slides)
    twice = sorted(slide_id for slide_id, count in counts.items() if count > 1)
    if twice:
        shown = ", ".join(twice[:5]) + (" …" if len(twice) > 5 else "")
        raise RequestError(
            f"--slides: {len(twice)} slide_id(s) of {asked} stand for several slides: {shown}; "
            "give each its own in a cohort table's column `slide_id`"
        )
    odd = [slide_id for slide_id in counts if not _SAFE_ID.fullmatch(slide_id)]
    if odd:
        raise RequestError(
            f"--slides: slide_id {odd[0]!r} cannot name a file: "
            "no slash or control character, no `_` or `.` in front"
        )
