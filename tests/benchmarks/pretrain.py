"""Section `pretrain`: what the training loop costs on top of the training itself."""

from typing import Any

from tests.benchmarks.document import Table, at_most, number
from tests.benchmarks.options import Options
from tests.benchmarks.process import worker

STEPS = 12
COLUMNS = ("", "seconds a step", "of the plain loop", "tiles/s", "waiting for tiles", "MFU")


def section(options: Options) -> list[Table]:
    """One table."""
    tiles, tokenizer = options.scratch / "tiles", options.scratch / "run" / "encoder"
    worker("loader", "write", tiles, options.slide, min(options.tiles, 2000))
    worker("pretrain", "tokenizer", tiles, tokenizer, 1)
    plain, loop = (worker("pretrain", way, tiles, tokenizer, STEPS) for way in ("plain", "loop"))
    names = ("plain PyTorch loop, views in memory", "**Pathray** `train`, from shards on disk")
    rows = [_row(name, found, plain) for name, found in zip(names, (plain, loop), strict=True)]
    where = "GPU, bf16" if plain["gpu"] else "CPU, all cores, fp32"
    return [
        Table(
            "Masked image modelling, one worker",
            f"`beitv2`, size `{plain['size']}`, batches of {plain['batch']} tiles of 224 px, "
            f"{where}; median of {STEPS} steps. Reading, decoding, augmenting, masking, clipping "
            "and reporting every step are in the second row; the first has its views already.",
            COLUMNS,
            rows,
            [at_most("A step of `train` against the plain one", _ratio(loop, plain), 1.15)],
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
