"""Section `pretrain`: what the training loop costs on top of the training itself."""

from typing import Any

from tests.benchmarks.document import Table, at_most, number
from tests.benchmarks.options import Options
from tests.benchmarks.process import worker

STEPS = 12
WAYS = {
    "bare": "forward, backward, AdamW; views in memory",
    "plain": "plain PyTorch loop; decoded tiles in memory, augmented and masked",
    "loop": "**Pathray** `train`, from shards on disk",
}
COLUMNS = ("", "seconds a step", "of the plain loop", "tiles/s", "waiting for tiles", "MFU")


def section(options: Options) -> list[Table]:
    """One table."""
    tiles, tokenizer = options.scratch / "tiles", options.scratch / "run" / "encoder"
    worker("loader", "write", tiles, options.slide, min(options.tiles, 2000))
    worker("pretrain", "tokenizer", tiles, tokenizer, 1)
    found = {way: worker("pretrain", way, tiles, tokenizer, STEPS) for way in WAYS}
    plain = found["plain"]
    rows = [_row(name, found[way], plain) for way, name in WAYS.items()]
    where = "GPU, bf16, wall clock" if plain["gpu"] else "CPU, fp32, busy seconds of all threads"
    return [
        Table(
            "Masked image modelling, one worker",
            f"`beitv2`, size `{plain['size']}`, batches of {plain['batch']} tiles of 224 px, "
            f"{where}; median of {STEPS} steps. The last row reads and decodes, and reports every "
            "step.",
            COLUMNS,
            rows,
            [
                "Augmentation and masks are the difference between the first two rows; the loader "
                "and the loop's own work between the last two.",
                at_most(
                    "A step of `train` against the plain one", _ratio(found["loop"], plain), 1.15
                ),
            ],
        )
    ]


def _row(name: str, found: dict[str, Any], plain: dict[str, Any]) -> list[str]:
    rate = found["batch"] / found["seconds"]
    wait = f"{found['data_wait']:.1%}" if "data_wait" in found else ""
    peak = found["peak"]
    mfu = f"{plain['flops'] * rate / peak:.0%}" if peak else "no GPU"
    ratio = f"{_ratio(found, plain):.2f}×"
    return [name, number(found["seconds"]), ratio, number(rate), wait, mfu]


def _ratio(found: dict[str, Any], plain: dict[str, Any]) -> float:
    return float(found["seconds"] / plain["seconds"])
