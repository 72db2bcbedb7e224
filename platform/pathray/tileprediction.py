"""What a tile model said of tiles, as a Parquet table."""

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pathray.slideprediction import Range


def tile_predictions(
    classes: Sequence[str], tiles: Sequence[str], probabilities: NDArray[np.float64]
) -> pa.Table:
    """A row a tile of `probabilities` (K, N, C), of K models.

    `path`, `predicted`, and for each class `probability_<class>`, the models' mean, with `_low`
    and `_high`, the lowest and highest of them.
    """
    told = Range.over(probabilities)
    predicted = [classes[column] for column in told.mean.argmax(axis=1)]
    columns = {"path": pa.array(tiles, pa.string()), "predicted": pa.array(predicted, pa.string())}
    for column, name in enumerate(classes):
        for end, values in (("", told.mean), ("_low", told.low), ("_high", told.high)):
            columns[f"probability_{name}{end}"] = pa.array(values[:, column])
    return pa.table(columns)


def tile_predictions_parquet(
    classes: Sequence[str], tiles: Sequence[str], probabilities: NDArray[np.float64]
) -> bytes:
    """`tile_predictions` as a Parquet object."""
    sink = io.BytesIO()
    pq.write_table(tile_predictions(classes, tiles, probabilities), sink, compression="zstd")
    return sink.getvalue()
