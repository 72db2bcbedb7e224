"""What flows through a pipeline survives the way through it."""

import io

import numpy as np
import pyarrow as pa
import pytest

from jobs.items import Report, SlideWork, pack, pixels_of, unpack
from pathray.cohort import Slide
from pathray.storage import Source

ITEMS = [
    SlideWork(Slide("a", "s3://bucket/a.svs"), Source(1, "v"), frozenset({1, 2})),
    Report("piece", "a µ", piece=3, seconds={"cut": 0.5}),
]


def sent(block: pa.Table) -> pa.Table:
    """The block as another process receives it."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, block.schema) as writer:
        writer.write_table(block)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


@pytest.mark.parametrize("item", ITEMS)
def test_an_item_arrives_as_it_was_sent(item: SlideWork | Report) -> None:
    block = sent(pack(item))
    assert block.num_rows == 1
    assert list(unpack(block)) == [(item, None)]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_pixels_arrive_beside_their_item_even_where_there_are_none(n: int) -> None:
    pixels = np.arange(n * 8 * 8 * 3, dtype=np.uint32).astype(np.uint8).reshape(n, 8, 8, 3)
    ((item, held),) = unpack(sent(pack(ITEMS[1], pixels)))
    assert item == ITEMS[1]
    assert held is not None
    assert np.array_equal(pixels_of(held, 8), pixels)


def test_rows_joined_in_one_block_keep_their_own_pixels() -> None:
    tiles = [np.full((n, 4, 4, 3), n, np.uint8) for n in (2, 0, 1)]
    joined = pa.concat_tables([pack(ITEMS[1], tiles[0]), pack(ITEMS[0]), pack(ITEMS[1], tiles[2])])
    for block in (joined, joined.combine_chunks(), sent(joined)):
        held = [pixels for _, pixels in unpack(block)]
        assert held[1] is None
        assert [len(pixels_of(b, 4)) for b in (held[0], held[2]) if b is not None] == [2, 1]
        ((item, alone),) = unpack(block.slice(2, 1))
        assert item == ITEMS[1]
        assert alone is not None
        assert np.array_equal(pixels_of(alone, 4), tiles[2])


def test_packing_does_not_copy_pixels() -> None:
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    ((_, held),) = unpack(pack(ITEMS[1], pixels))
    assert held is not None
    assert held.address == pixels.ctypes.data
