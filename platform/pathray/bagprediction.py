"""What a slide model said of a bag, as a Parquet object: attention by tile, the answer beside.

Columns `slide_id`, `x`, `y` (level-0 pixels; null where the embeddings have no places) and
`attention` (float32, sums to 1 over the bag). The answer lies in the metadata's provenance.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pathray.metadata import Metadata, with_metadata
from pathray.mil.bagfiles import BagFile
from pathray.mil.packing import opened
from pathray.slidemodel import SlideModel
from pathray.slideprediction import Range, SlidePrediction

SCHEMA = pa.schema(
    [
        pa.field("slide_id", pa.string()),
        pa.field("x", pa.int32()),
        pa.field("y", pa.int32()),
        pa.field("attention", pa.float32()),
    ]
)


@dataclass(frozen=True)
class BagTiles:
    """Tiles of the slides of one bag, one slide behind the other: vectors (N, D), slide (N,)."""

    vectors: NDArray[np.floating]
    slide: Sequence[str]
    x: Sequence[int | None]
    y: Sequence[int | None]


def read_bag(files: Iterable[BagFile]) -> BagTiles:
    """The tiles of some slides; RequestError for a damaged file."""
    vectors: list[NDArray[np.floating]] = []
    slide: list[str] = []
    places: list[tuple[int | None, int | None]] = []
    for file in files:
        with opened(file) as bag:
            for rows in bag.chunks:
                vectors.append(rows.vectors)
                slide += [file.slide_id] * len(rows.vectors)
                if rows.coordinates is None:
                    places += [(None, None)] * len(rows.vectors)
                else:
                    places += [(x, y) for x, y in rows.coordinates.tolist()]
    joined = np.concatenate(vectors) if vectors else np.empty((0, 0), np.float32)
    return BagTiles(joined, slide, [x for x, _ in places], [y for _, y in places])


def answer(prediction: SlidePrediction) -> dict[str, Any]:
    """The prediction without attention, JSON-able: the models' mean, their lowest and highest.

    Of classes `predicted`, and `probability_<class>` with `_low`, `_high`; of survival `risk`
    with `_low`, `_high`, and the mean curve as `times` and `survival`.
    """
    told: dict[str, Any] = {}
    if prediction.probabilities is not None:
        of = Range.over(prediction.probabilities)
        told["predicted"] = prediction.classes[int(of.mean.argmax())]
        for row, name in enumerate(prediction.classes):
            _add_range(told, f"probability_{name}", of, row)
        return told
    assert prediction.risks is not None
    assert prediction.times is not None
    assert prediction.curves is not None
    _add_range(told, "risk", Range.over(prediction.risks[:, None]), 0)
    told["times"] = prediction.times.tolist()
    told["survival"] = prediction.curves.mean(axis=0).tolist()
    return told


def _add_range(told: dict[str, Any], name: str, of: Range, row: int) -> None:
    told[name] = float(of.mean[row])
    told[f"{name}_low"], told[f"{name}_high"] = float(of.low[row]), float(of.high[row])


def predict_bag(
    model: SlideModel, files: Sequence[BagFile], identity: dict[str, Any], patient: str | None
) -> tuple[bytes, dict[str, Any]]:
    """The object of a bag, and its row: `tiles` and the answer (of no tiles, no answer)."""
    bag = read_bag(files)
    count = len(bag.vectors)
    row: dict[str, Any] = {"patient_id": patient, "tiles": count}
    attention = np.empty(0, np.float32)
    if count:
        prediction = model.predict(bag.vectors)
        attention = prediction.attention
        row |= answer(prediction)
    schema = with_metadata(SCHEMA, Metadata(identity, {"prediction": row}))
    columns = [
        pa.array(values, field.type)
        for values, field in zip((bag.slide, bag.x, bag.y, attention), SCHEMA, strict=True)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue(), row
