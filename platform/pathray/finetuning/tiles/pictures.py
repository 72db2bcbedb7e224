"""The tiles that a report shows."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pathray import storage
from pathray.errors import RequestError
from pathray.evaluation.labelled import read_tile
from pathray.report.tilesheets import ClassTiles
from pathray.slides.reader import Pixels


def read_pictures(classes: Sequence[ClassTiles]) -> dict[str, Pixels]:
    """Those that can be read, by URI, uint8 (H, W, 3)."""
    uris = [row.bag for each in classes for row in (*each.right, *each.wrong)]
    with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as pool:
        found = zip(uris, pool.map(_picture, uris), strict=True)
        return {uri: picture for uri, picture in found if picture is not None}


def _picture(uri: str) -> Pixels | None:
    try:
        return read_tile(uri)
    except RequestError:  # a picture is not worth a report
        return None
