"""Shards to batches, tiles to views: `loader.py WAY FOLDER ROUNDS`, in seconds of a core.

`loader.py write FOLDER SLIDE TILES` writes the shards first.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms import v2

from pathray.metadata import Metadata
from pathray.pretraining.augment import Augmentation
from pathray.pretraining.batches import Batches
from pathray.pretraining.masking import block_masks
from pathray.pretraining.plan import Plan
from pathray.pretraining.rowgroups import find_row_groups
from pathray.slides.tiff import TiffReader
from pathray.tilestore import JPEG, Shard, decode_image, encode_image, serialise, shard_name
from tests.benchmarks.tiles import SIDE, corners, plan_of, tissue_tiling
from tests.benchmarks.workers.timing import best, tell
from tests.unit.test_pretraining_masking import one_by_one

BATCH, VIEWS, SLIDES = 256, 64, 8


def write(folder: Path, slide: str, count: int) -> None:
    folder.mkdir()
    origins = corners(plan_of(Path(slide), tissue_tiling()), count)
    reader = TiffReader.open(slide)
    squares = reader.read_squares(0, origins, SIDE)
    images = [encode_image(square, JPEG) for square in squares if square is not None]
    reader.close()
    for i, part in enumerate(np.array_split(np.arange(count) % len(images), SLIDES)):
        x = np.zeros(len(part), np.int32)
        tissue, of_part = np.ones(len(part), np.float32), [images[j] for j in part]
        made = Metadata({"tile_size": SIDE}, {"piece": 0, "pieces": 1})
        shard = Shard(f"slide-{i}", None, x, x, tissue, of_part, made)
        (folder / shard_name(shard.slide_id, 0)).write_bytes(serialise(shard))


def read(way: str, folder: Path, rounds: int) -> tuple[int, float]:
    """Tiles of an epoch and the seconds it takes."""
    groups = find_row_groups(str(folder))
    steps = groups.tiles // BATCH
    images = [image for group in range(len(groups)) for image in groups.read_images(group)]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    chosen = order[: steps * BATCH].split(BATCH)

    def with_batches() -> None:
        with Batches(Plan(groups, BATCH, 0), stop=steps) as batches:
            for batch in batches:
                assert not batch.lost

    def with_decoder() -> None:
        for places in chosen:
            for i in places.tolist():
                decode_image(images[i])

    def from_memory() -> None:
        for places in chosen:
            tiles[places]

    tiles = _decoded(images) if way == "memory" else torch.empty(0)
    ways = {"memory": from_memory, "decoder": with_decoder, "batches": with_batches}
    return steps * BATCH, best(ways[way], rounds, time.process_time)


def augment(way: str, folder: Path, rounds: int) -> tuple[int, float]:
    """Tiles of a batch and the seconds their views or masks take."""
    images = find_row_groups(str(folder)).read_images(0, list(range(VIEWS)))
    tiles = _decoded(images)
    index = torch.arange(VIEWS)
    of_bytes = tiles.permute(0, 3, 1, 2).contiguous()
    apart = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, (0.2, 1.0), interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.4),
        ]
    )
    ways: dict[str, Callable[[], object]] = {
        "torchvision": lambda: [apart(image / 255) for image in of_bytes],
        "torchvision-bytes": lambda: [apart(image) / 255 for image in of_bytes],
        "augmentation": lambda: Augmentation()(tiles, 0, 0, index),
        "augmentation-stain": lambda: Augmentation(stain=0.05)(tiles, 0, 0, index),
        "one-by-one": lambda: [one_by_one(random.Random(i)) for i in range(VIEWS)],
        "masks": lambda: block_masks(0, 0, index, 14),
    }
    return VIEWS, best(ways[way], 3 * rounds, time.process_time)


def _decoded(images: list[bytes]) -> torch.Tensor:
    return torch.from_numpy(np.stack([decode_image(image) for image in images]))


if __name__ == "__main__":
    way, folder, *rest = sys.argv[1:]
    if way == "write":
        write(Path(folder), rest[0], int(rest[1]))
        tell()
    else:
        measure = read if way in ("batches", "decoder", "memory") else augment
        tiles, seconds = measure(way, Path(folder), int(rest[0]))
        tell(tiles=tiles, seconds=seconds)
