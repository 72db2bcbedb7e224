"""Synthetic embeddings with a planted signal, for the section `mil`."""

from pathlib import Path

import numpy as np

from pathray.embeddings import Embeddings, write_embeddings
from pathray.metadata import Metadata
from pathray.mil.bags import Bags, bags_of
from pathray.mil.formats.bag import Made
from pathray.mil.packing import VECTORS
from pathray.mil.store import BagStore

DIM = 768
SIGNAL_SHARE, SIGNAL_FEATURES, SIGNAL = 0.05, 16, 1.5
"""In bags of class 1 this share of tiles is shifted in these first features by this much."""


def draw(folder: Path, bags: int, smallest: int, largest: int) -> None:
    """A packed store of bags whose sizes are log-uniform; bag i is of class i % 2."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(np.log(smallest), np.log(largest), bags)).astype(int)
    with (folder / VECTORS).open("wb") as file:
        for bag, size in enumerate(sizes):
            vectors = rng.standard_normal((size, DIM), np.float32)
            shifted = rng.random(size) < SIGNAL_SHARE * (bag % 2)
            vectors[shifted, :SIGNAL_FEATURES] += SIGNAL
            vectors.astype(np.float16).tofile(file)
    np.save(folder / "sizes.npy", sizes)


def drawn(folder: Path) -> Bags:
    """What `draw` wrote."""
    sizes = np.load(folder / "sizes.npy")
    names = tuple(f"{bag:05d}" for bag in range(len(sizes)))
    offsets = tuple(np.cumsum([0, *sizes]).tolist())
    return bags_of(BagStore(folder, names, offsets, Made(DIM), False))


def write_objects(folder: Path, slides: int, tiles: int) -> None:
    """Embeddings as `embed` writes them: one drawn slide, linked under many names."""
    folder.mkdir()
    vectors = np.random.default_rng(0).standard_normal((tiles, DIM), np.float32)
    place = np.arange(tiles, dtype=np.int32)
    tissue = np.ones(tiles, np.float32)
    metadata = Metadata({})
    piece = Embeddings(place, place, tissue, vectors.astype(np.float16), metadata)
    first = folder / "00000.parquet"
    write_embeddings(first, [piece], DIM, metadata)
    for slide in range(1, slides):
        (folder / f"{slide:05d}.parquet").hardlink_to(first)
