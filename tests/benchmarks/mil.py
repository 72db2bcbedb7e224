"""Section `mil`: training on packed bags against one bag a step, and packing a cohort."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tests.benchmarks import cohorts
from tests.benchmarks.document import Table, at_least, megabytes, number
from tests.benchmarks.options import Options
from tests.benchmarks.process import worker
from tests.benchmarks.workers.bagpacked import BAGS_A_STEP

WAYS = {
    "one bag a step, fp32": ("bagloop", "fp32"),
    "one bag a step, bf16": ("bagloop", "bf16"),
    "**packed**, fp32": ("bagpacked", "fp32"),
    "**packed**, bf16": ("bagpacked", "bf16"),
}
LOOP = "one bag a step, fp32"
SMALLEST, LARGEST, REDUCED = 200, 20_000, 10
EPOCHS, SEEDS = 4, 3
SLIDES, TILES = (250, 2000), 500
Report = Mapping[str, Any]


def section(options: Options) -> list[Table]:
    """Three tables."""
    return [_epochs(options), _losses(options), _packing(options)]


def _epochs(options: Options) -> Table:
    cohort = options.scratch / "cohort"
    cohorts.draw(cohort, options.bags, SMALLEST, LARGEST)
    done = {name: worker(script, cohort, kind, 1, 0) for name, (script, kind) in WAYS.items()}
    shutil.rmtree(cohort)
    loop = done[LOOP]
    rows = [
        [
            name,
            number(each["seconds"]),
            number(each["tiles"] / each["seconds"]),
            _times(loop, each),
            megabytes(each["peak"]),
        ]
        for name, each in done.items()
    ]
    return Table(
        "An epoch of CLAM-SB",
        f"Four fifths of {options.bags} bags of {SMALLEST:,} to {LARGEST:,} tiles (log-uniform, "
        f"{loop['tiles']:,} tiles, {cohorts.DIM} features, float16), dropout 0.25 and instance "
        f"loss as CLAM trains, in the page cache; packed: {BAGS_A_STEP} bags a step.",
        ("", "seconds", "tiles/s", "of the loop in fp32", "peak memory"),
        rows,
        [
            "The loop is spared CLAM's files: it takes its bags from the same memory map. Peak "
            "memory counts the pages of the map that were touched.",
            at_least("Packed in fp32 against the loop in fp32", _ratio(loop, done, "fp32"), 1.0),
            at_least("Packed in bf16 against the loop in fp32", _ratio(loop, done, "bf16"), 2.5),
        ],
    )


def _ratio(loop: Report, done: Mapping[str, Report], kind: str) -> float:
    return float(loop["seconds"] / done[f"**packed**, {kind}"]["seconds"])


def _times(loop: Report, each: Report) -> str:
    return f"{loop['seconds'] / each['seconds']:.2f}×"


def _losses(options: Options) -> Table:
    """Bags a tenth as large, so that several seeds can be trained."""
    cohort = options.scratch / "small"
    cohorts.draw(cohort, options.bags, SMALLEST // REDUCED, LARGEST // REDUCED)
    done = {
        name: [worker(script, cohort, kind, EPOCHS, seed) for seed in range(SEEDS)]
        for name, (script, kind) in WAYS.items()
    }
    fastest = {name: min(each, key=lambda run: run["seconds"]) for name, each in done.items()}
    rows = [
        [
            name,
            *(f"{run['loss']:.3f}" for run in runs),
            f"{mean(run['loss'] for run in runs):.3f} ± {stdev(run['loss'] for run in runs):.3f}",
            number(fastest[name]["seconds"]),
            _times(fastest[LOOP], fastest[name]),
        ]
        for name, runs in done.items()
    ]
    return Table(
        "Validation loss",
        f"As above with bags of {SMALLEST // REDUCED} to {LARGEST // REDUCED:,} tiles: "
        f"cross-entropy on the other fifth after {EPOCHS} epochs from {SEEDS} seeds (chance is "
        "0.693), and the fastest seed's seconds an epoch.",
        ("", *(f"seed {seed}" for seed in range(SEEDS)), "mean", "seconds", "of the loop in fp32"),
        rows,
        [
            f"Packed takes a step every {BAGS_A_STEP} bags, with a learning rate "
            f"√{BAGS_A_STEP} times the loop's."
        ],
    )


def _packing(options: Options) -> Table:
    rows = []
    for slides in SLIDES:
        folder = options.scratch / f"objects{slides}"
        cohorts.write_objects(folder, slides, TILES)
        done = worker("bagstore", folder, options.scratch / f"cache{slides}")
        shutil.rmtree(Path(options.scratch / f"cache{slides}"))
        cells = [done["seconds"], done["size"] / done["seconds"] / 1e6]
        memory = [megabytes(done[name]) for name in ("size", "peak", "before")]
        rows.append([f"{slides:,} slides", *map(number, cells), *memory])
    return Table(
        "Packing a cohort",
        f"Parquet objects of {TILES} tiles as `embed` writes them, into the memory-mapped store.",
        ("", "seconds", "MB/s", "packed", "peak memory", "of that before it began"),
        rows,
        ["Memory does not grow with the cohort."],
    )
