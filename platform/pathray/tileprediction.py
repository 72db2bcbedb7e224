"""What a tile model said of tiles, as a Parquet table."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pathray.slideprediction import Range


def tile_predictions(
    classes: Sequence[str],
    tiles: Sequence[str],
    probabilities: NDArray[np.float64],
    failed: Mapping[str, str],
) -> pa.Table:
    """A row a tile. `probabilities` (K, N, C) are of K models and the N tiles not in `failed`.

    `path`, `predicted`, for each class `probability_<class>`, the models' mean, with `_low` and
    `_high`, the lowest and highest of them, and `error`: why nothing could be said of a tile.
    """
    told = Range.over(probabilities)
    done = np.array([tile not in failed for tile in tiles], bool)
    rows = np.where(done, np.cumsum(done) - 1, 0)

    def column(values: Sequence[str] | NDArray[np.float64], kind: pa.DataType) -> pa.Array:
        return pa.array(
            [values[row] if ok else None for row, ok in zip(rows, done, strict=True)], kind
        )

    predicted = [classes[place] for place in told.mean.argmax(axis=1)]
    columns = {
        "path": pa.array(tiles, pa.string()),
        "predicted": column(predicted, pa.string()),
    }
    for place, name in enumerate(classes):
        for end, values in (("", told.mean), ("_low", told.low), ("_high", told.high)):
            columns[f"probability_{name}{end}"] = column(values[:, place], pa.float64())
    columns["error"] = pa.array([failed.get(tile) for tile in tiles], pa.string())
    return pa.table(columns)


def tile_predictions_parquet(
    classes: Sequence[str],
    tiles: Sequence[str],
    probabilities: NDArray[np.float64],
    failed: Mapping[str, str],
) -> bytes:
    """`tile_predictions` as a Parquet object."""
    sink = io.BytesIO()
    table = tile_predictions(classes, tiles, probabilities, failed)
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
