"""Where a model looked: the extremes of its attention over each slide of a bag."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pathray.finetuning.result import AttendedTile, SlideAttention
from pathray.mil.aggregator import Aggregated, Aggregator
from pathray.mil.bags import Bags
from pathray.mil.batches import Packed

SHOWN = 10
"""Tiles kept of either end: a row of a contact sheet."""


def attention_of(model: Aggregator, found: Aggregated, by_class: bool) -> NDArray[np.float32]:
    """Attention (T,) of a batch: where it has a column an output, that of each bag's predicted
    class, or the mean over outputs that are no classes."""
    shares = model.normalised(found)
    column = shares.mean(dim=1)
    if by_class and shares.shape[1] > 1:
        predicted: Tensor = found.logits.argmax(dim=1)[found.segments.ids]
        column = shares.gather(1, predicted[:, None])[:, 0]
    return column.float().cpu().numpy()


def slide_attention(
    bags: Bags, packed: Packed, attention: NDArray[np.float32]
) -> Iterator[SlideAttention]:
    """The extremes of each slide of a batch of whole bags; none where there are no places."""
    coordinates = bags.store.coordinates
    if coordinates is None:
        return
    for position, bag in enumerate(packed.bags):
        start = int(packed.offsets[position])
        for slide, run in zip(bags.slides[bag], bags.runs(bag), strict=True):
            count = run.stop - run.start
            mine = attention[start : start + count]
            start += count
            tiles = _tiles(coordinates[run], mine)
            yield SlideAttention(
                slide_id=bags.store.slide_ids[slide],
                tiles=count,
                most=tiles[:SHOWN],
                least=tiles[::-1][:SHOWN],
            )


def _tiles(places: NDArray[np.int32], attention: NDArray[np.float32]) -> tuple[AttendedTile, ...]:
    """The tiles of both ends, the most attended first."""
    order = np.argsort(-attention, kind="stable")
    if len(order) > 2 * SHOWN:
        order = np.concatenate([order[:SHOWN], order[-SHOWN:]])
    return tuple(
        AttendedTile(x=int(places[i, 0]), y=int(places[i, 1]), attention=float(attention[i]))
        for i in order
    )
