"""What a finished prediction is looked at with: thumbnail, heatmap, attention, top tiles."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pathray.heatmap import Heatmap, attention_ranks, encode_png
from pathray.slideprediction import SlidePrediction
from pathray.slides.reader import SlideReader
from pathray.slides.thumbnail import read_thumbnail
from pathray.tilestore import JPEG, encode_image
from pathray.tiling import Plan, cut_tiles
from serve.predicting import TOP_TILES
from serve.results import Results

THUMBNAIL_SIDE = 2048
ATTENTION, THUMBNAIL, HEATMAP = "attention.parquet", "thumbnail.jpeg", "heatmap.png"


def draw(
    id: str, results: Results, reader: SlideReader, plan: Plan, found: SlidePrediction
) -> None:
    """Put what the viewer shows: thumbnail, attention, heatmap, the most attended tiles."""
    longest = max(plan.width, plan.height)
    thumbnail = read_thumbnail(reader, max(1.0, longest / THUMBNAIL_SIDE))
    results.put_file(id, THUMBNAIL, encode_image(thumbnail.pixels, JPEG))
    results.put_file(id, ATTENTION, _attention_table(plan, found))
    results.put_file(id, HEATMAP, encode_png(heatmap_of(plan, found.attention).picture()))
    for rank, row in enumerate(found.most_attended(TOP_TILES).tolist()):
        tile = next(iter(cut_tiles(reader, plan.part(row, row + 1))))
        if tile is not None:
            results.put_file(id, top_tile(rank), encode_image(tile, JPEG))


def heatmap_of(plan: Plan, attention: NDArray[np.float32]) -> Heatmap:
    """The map of a plan's tiles."""
    sampling = plan.sampling
    return Heatmap(
        plan.x,
        plan.y,
        attention_ranks(attention),
        sampling.side0,
        sampling.stride0,
        plan.width,
        plan.height,
    )


def top_tile(rank: int) -> str:
    """The file name of the picture of one of the most attended tiles."""
    return f"tiles/{rank:02d}.jpeg"


def _attention_table(plan: Plan, found: SlidePrediction) -> bytes:
    """Parquet: x, y int32 level-0 corners, attention float32; side0, stride0 and the slide's
    size in the schema's metadata."""
    geometry = {
        "side0": plan.sampling.side0,
        "stride0": plan.sampling.stride0,
        "width": plan.width,
        "height": plan.height,
    }
    table = pa.table({"x": plan.x, "y": plan.y, "attention": found.attention})
    table = table.replace_schema_metadata({k: str(v) for k, v in geometry.items()})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def read_heatmap(attention: bytes) -> Heatmap:
    """The map from the table of a finished prediction."""
    table = pq.read_table(io.BytesIO(attention))
    told = {
        key.decode(): int(value) for key, value in table.schema.metadata.items() if value.isdigit()
    }
    return Heatmap(
        table["x"].to_numpy(),
        table["y"].to_numpy(),
        attention_ranks(table["attention"].to_numpy()),
        told["side0"],
        told["stride0"],
        told["width"],
        told["height"],
    )
