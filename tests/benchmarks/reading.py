"""Section `reading`: tiles a second of one core, from a local slide, nothing else done."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks import tiles
from tests.benchmarks.document import Table, at_least, cannot, number
from tests.benchmarks.options import Options
from tests.benchmarks.others import TOOLS
from tests.benchmarks.process import CannotRunError, worker

OURS = {
    "OpenSlide `read_region`, a loop": "openslide",
    "**Pathray** `TiffReader.read_squares`": "pathray",
    "the decoder alone (libjpeg-turbo), no cutting": "decoder",
}


def section(options: Options) -> list[Table]:
    """Two tables: scattered tissue, and a full stretch of the slide."""
    tissue = tiles.corners(tiles.plan_of(options.slide, tiles.tissue_tiling()), options.tiles)
    every = tiles.corners(tiles.plan_of(options.slide, tiles.every_tile()))
    middle = slice((len(every) - len(tissue)) // 2, (len(every) + len(tissue)) // 2)
    return [
        _compare(options, tissue, "Reading scattered tissue, one core", "tissue tiles"),
        _compare(options, every[middle], "Reading without gaps, one core", "neighbouring tiles"),
    ]


def _compare(options: Options, origins: NDArray[np.int64], title: str, what: str) -> Table:
    listed = options.scratch / "tiles.npy"
    np.save(listed, origins)
    rest = (options.slide, listed, options.rounds)
    found: dict[str, Any] = {
        name: worker("read", way, *rest, one_core=True) for name, way in OURS.items()
    }
    for tool in TOOLS:
        try:
            done = tool.run(options.environments, "read", *rest)
            found[f"{tool.name} {done['version']}"] = done
        except CannotRunError as error:
            found[tool.name] = error
    return _table(found, title, f"{len(origins):,} {what}")


def _table(found: dict[str, Any], title: str, which: str) -> Table:
    base, ours, decoder = (_rate(found[name]) for name in OURS)
    rows = [
        cannot(name, done, 4)
        if isinstance(done, CannotRunError)
        else [name, number(_rate(done)), f"{_rate(done) / base:.2f}×", f"{_rate(done) / ours:.2f}×"]
        for name, done in found.items()
    ]
    return Table(
        title,
        f"The same {which} of {tiles.SIDE} px at level 0 into RGB arrays, the file "
        "in the page cache, best round. The last decodes the source tiles under them and no more.",
        ("", "tiles/s", "of `read_region`", "of Pathray"),
        rows,
        [
            "What one core can hand to an encoder before anything else is paid.",
            at_least("Pathray against `read_region`", ours / base, 5),
            at_least("Pathray against the decoder alone", ours / decoder, 0.5),
        ],
    )


def _rate(done: Any) -> float:
    return float(done["tiles"] / done["seconds"])
