"""Section `loader`: from tile shards to augmented, masked batches, on one core."""

from typing import Any

from tests.benchmarks.document import Table, at_least, number
from tests.benchmarks.options import Options
from tests.benchmarks.process import worker

READING = {
    "memory": "decoded tiles in memory, a plain loop",
    "decoder": "the decoder alone (libjpeg-turbo), tiles in memory",
    "batches": "**Pathray** `Batches`, from shards on disk",
}
AUGMENTING = {
    "torchvision": "crop, flip, colour: torchvision, image by image, float32",
    "torchvision-bytes": "the same on uint8",
    "augmentation": "**Pathray** `Augmentation`, a batch at once",
    "augmentation-stain": "the same with stain jitter",
    "one-by-one": "block masks, one by one",
    "masks": "**Pathray** `block_masks`, a batch at once",
}


def section(options: Options) -> list[Table]:
    """Two tables."""
    folder = options.scratch / "tiles"
    worker("loader", "write", folder, options.slide, options.tiles)
    return [_reading(options, folder), _augmenting(options, folder)]


def _reading(options: Options, folder: object) -> Table:
    found = _measure(READING, options, folder)
    decoder = found["decoder"]
    rows = [
        [name, number(found[way]), f"{found[way] / decoder:.2f}×"] for way, name in READING.items()
    ]
    return Table(
        "Batches of tiles for pretraining, one core",
        f"Shuffled batches of 256 of {options.tiles:,} JPEG tissue tiles of 224 px as `pathray "
        "tile` stores them, the files in the page cache; by CPU seconds, best round.",
        ("", "tiles per core second", "of the decoder"),
        rows,
        [
            "What one core can hand to training. Planning, reading and hand-over are the "
            "difference between the last two.",
            at_least("`Batches` against the decoder alone", found["batches"] / decoder, 0.8),
        ],
    )


def _augmenting(options: Options, folder: object) -> Table:
    found = _measure(AUGMENTING, options, folder)
    base = dict.fromkeys(AUGMENTING, found["torchvision"])
    base |= {"one-by-one": found["one-by-one"], "masks": found["one-by-one"]}
    rows = [
        [name, number(found[way]), f"{found[way] / base[way]:.2f}×"]
        for way, name in AUGMENTING.items()
    ]
    return Table(
        "Augmentation and masks, one core",
        "Batches of 64 tiles of 224 px in memory to views of 224 px, the same antialiased bicubic "
        "crops and the same changes of colour; masks of 75 of 14 x 14 patches. By CPU seconds.",
        ("", "tiles per core second", "of the loop"),
        rows,
        [
            "Made for a GPU, where the crops are two matrix products and a loop over images "
            "launches its kernels one by one; on a CPU the loop touches fewer numbers."
        ],
    )


def _measure(ways: dict[str, str], options: Options, folder: object) -> dict[str, float]:
    done: dict[str, Any] = {
        way: worker("loader", way, folder, options.rounds, one_core=True) for way in ways
    }
    return {way: result["tiles"] / result["seconds"] for way, result in done.items()}
