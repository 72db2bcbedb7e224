"""The page: everything inlined, nothing asked of the network."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pathray.report.figure import Figure
from pathray.report.sheets import Sheet, jpeg
from pathray.report.tilesheets import TileRow
from pathray.report.wording import measure_name, number

ROWS = 500
"""Predictions shown; the Parquet table has all."""


def page(
    told: Mapping[str, Any],
    figures: Sequence[Figure],
    sheets: Sequence[Sheet],
    tile_sheets: Sequence[tuple[str, Sequence[TileRow]]],
) -> bytes:
    """UTF-8 HTML of what `content.content` tells. `tile_sheets` are classes with their rows."""
    html = _template().render(
        told=told,
        figures=figures,
        sheets=_sheets(sheets),
        tile_sheets=tile_sheets,
        rows=ROWS,
        settings=list(_flat(told["provenance"]["settings"])),
        embeddings=list(_flat(told["provenance"]["embeddings"])),
    )
    return html.encode()


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("pathray.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(shown=shown, data_uri=_data_uri, whole=_whole)
    environment.globals.update(at=at, measure_name=measure_name)
    return environment.get_template("report.html")


def at(told: Any, path: str) -> Any:
    """What is at `folds.0.scores` of nested dicts and lists.

    Every number of a table is looked up so, and names its place in `data-path`.
    """
    for step in path.split("."):
        told = told[int(step)] if isinstance(told, Sequence) else told[step]
    return told


def shown(value: float | None, digits: int) -> str:
    """A number of a table: counts with commas, others with `digits` decimals."""
    return _whole(value) if isinstance(value, int) else number(value, digits)


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


def _whole(value: int) -> str:
    return f"{value:,}"


def _sheets(sheets: Sequence[Sheet]) -> list[dict[str, Any]]:
    """Groups in order, each with its slides; rows without a tile are left out."""
    drawn: list[dict[str, Any]] = [
        {
            "slide": sheet.slide,
            "rows": [
                (name, len(tiles), jpeg(tiles))
                for name, tiles in (("most", sheet.most), ("least", sheet.least))
                if len(tiles)
            ],
        }
        for sheet in sheets
    ]
    grouped = groupby(drawn, key=lambda each: each["slide"].group)
    return [{"group": group, "slides": list(slides)} for group, slides in grouped]


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values as text; what is nothing is said to be so."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", "none" if value is None else str(value)
