"""The files a slide is made of: most are one file, MRXS and DICOM are folders."""

import hashlib
import re
from collections.abc import Callable

from pathray import storage
from pathray.storage import Entry, Source

EXTENSIONS = frozenset(
    f".{name}"
    for name in "svs tif tiff btf ndpi mrxs scn svslide bif czi vms vmu dcm".split()  # noqa: SIM905
)
"""What a directory listing takes for a slide."""

_SERIES_TAG = re.compile(rb"\x20\x00\x0e\x00UI(..)", re.DOTALL)
_HEADER_BYTES = 64 * 1024


def suffix(uri: str) -> str:
    """The lower-case suffix of a URI's file name, with its dot."""
    name = uri.rsplit("/", 1)[-1]
    return "." + name.rsplit(".", 1)[1].lower() if "." in name else ""


def companions(uri: str) -> list[Entry]:
    """The other files that OpenSlide needs to open this slide, sorted by URI.

    MRXS: the folder of the slide's name; DICOM: the files of the folder that belong to the
    same series; Hamamatsu VMS and VMU: the files whose names begin with the slide's.
    """
    kind = suffix(uri)
    folder, stem = storage.parent(uri), storage.stem(uri)
    if kind == ".mrxs":
        return storage.list_objects(storage.join(folder, stem))
    if kind == ".dcm":
        series = dicom_series(uri)
        others = _siblings(uri, lambda name: name.lower().endswith(".dcm"))
        return [entry for entry in others if dicom_series(entry.uri) == series]
    if kind in (".vms", ".vmu"):
        return _siblings(uri, lambda name: name.startswith(stem))
    return []


def _siblings(uri: str, wanted: Callable[[str], bool]) -> list[Entry]:
    entries = storage.list_objects(storage.parent(uri), recursive=False)
    return [entry for entry in entries if wanted(entry.name) and entry.uri != uri]


def dicom_series(uri: str) -> str | None:
    """The SeriesInstanceUID (0020,000E) of a DICOM file; None when its header has none."""
    header = storage.read_range(uri, 0, _HEADER_BYTES)
    match = _SERIES_TAG.search(header)
    if match is None:
        return None
    length = int.from_bytes(match.group(1), "little")
    return header[match.end() : match.end() + length].rstrip(b"\x00 ").decode("ascii", "replace")


def source_of(uri: str) -> Source:
    """Size and version of a slide with all its files; FileNotFoundError where it is missing."""
    main = storage.stat(uri)
    others = companions(uri)
    if not others:
        return main
    versions = [main.version, *(f"{e.name}:{e.source.size}:{e.source.version}" for e in others)]
    digest = hashlib.sha256("\n".join(versions).encode()).hexdigest()
    return Source(main.size + sum(e.source.size for e in others), digest[:32], main.modified)
