"""Folders of tile shards for the tests, each tile of which says which one it is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pathray.metadata import Metadata
from pathray.slides.reader import Pixels
from pathray.tilestore import PNG, Shard, encode_image, serialise, shard_name

SIDE = 8


def numbered_tile(number: int, side: int = SIDE) -> Pixels:
    """A tile whose first pixel is its number, the rest noise."""
    tile = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    tile[0, 0] = number >> 16, number >> 8 & 255, number & 255
    return tile


def numbers_of(tiles: np.ndarray) -> list[int]:
    """The numbers of tiles (B, H, W, 3)."""
    pixels = tiles[:, 0, 0].astype(int)
    return (pixels[:, 0] * 65536 + pixels[:, 1] * 256 + pixels[:, 2]).tolist()


def write_shard(
    folder: Path,
    slide_id: str,
    images: Sequence[bytes],
    *,
    piece: int = 0,
    pieces: int = 1,
    side: int = SIDE,
) -> Path:
    """One shard as `pathray tile` writes them."""
    n = len(images)
    x = np.arange(n, dtype=np.int32)
    made = Metadata({"tile_size": side}, {"piece": piece, "pieces": pieces})
    shard = Shard(slide_id, None, x, x, np.ones(n, np.float32), images, made)
    path = folder / shard_name(slide_id, piece)
    path.write_bytes(serialise(shard))
    return path


def write_slides(folder: Path, tiles: Sequence[int], first: int = 0) -> int:
    """A one-shard slide of so many tiles each, numbered from `first`; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    number = first
    for slide, count in enumerate(tiles):
        images = [encode_image(numbered_tile(number + i), PNG) for i in range(count)]
        write_shard(folder, f"slide-{slide:03d}", images)
        number += count
    return number - first
