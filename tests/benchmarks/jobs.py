"""Section `jobs`: whole commands on every tile of a slide, against a read_region loop."""

import os
import time
from pathlib import Path

import numpy as np

from tests.benchmarks import tiles
from tests.benchmarks.command import Run, pathray
from tests.benchmarks.document import Table, at_least, number
from tests.benchmarks.options import Options
from tests.benchmarks.process import worker

EVERY_TILE = ("--mpp", "native", "--tissue", "all", "--min-tissue", "0")
JOBS = {
    "tile": ("tile", "--tile-size", tiles.SIDE),
    "embed": ("embed", "--tile-size", tiles.SIDE, "--encoder", "mean_rgb"),
}


def section(options: Options) -> list[Table]:
    """One table."""
    listed = options.scratch / "tiles.npy"
    np.save(listed, tiles.corners(tiles.plan_of(options.slide, tiles.every_tile())))
    cores = len(os.sched_getaffinity(0))
    start = time.perf_counter()
    loop = worker("loop", options.slide, listed, cores)
    bare = Run(time.perf_counter() - start, loop["tiles"], {})
    start = time.perf_counter()
    alone = worker("loop", options.slide, listed, 1)
    single = Run(time.perf_counter() - start, alone["tiles"], {})
    # A first run, not counted, has the packages in the page cache as the loop's are.
    warm = ("--slides", _cohort(options, 1), "--out", options.scratch / "warm")
    pathray("tile", *EVERY_TILE, "--tiles-per-slide", 1, *warm)
    rows = [
        _row("`read_region` loop, 1 process", single, 1, bare),
        _row(f"`read_region` loop, {cores} processes", bare, 1, bare),
    ]
    meaning = [
        "Everything is included: Python, Ray's start, planning, results on disk (the loop "
        "writes nothing). The marginal rate is that of the added slides alone: what a long "
        "run comes to."
    ]
    for job, flags in JOBS.items():
        runs = {}
        for copies in (1, options.copies):
            cohort = _cohort(options, copies)
            out = options.scratch / f"{job}-{copies}"
            runs[copies] = pathray(*flags, *EVERY_TILE, "--slides", cohort, "--out", out)
            rows.append(_row(_name(job, copies), runs[copies], copies, bare, runs[1]))
        meaning += _verdicts(f"`{job}`", list(runs.values()), bare)
    return [
        Table(
            "Whole jobs, all cores",
            f"Every tile of {tiles.SIDE} px of the slide at level 0 ({bare.tiles:,}, background "
            f"too), the slide once and as a cohort of {options.copies} links to it.",
            ("", "slides", "seconds", "tiles/s", "of the loop", "marginal tiles/s", "of the loop"),
            rows,
            meaning,
        )
    ]


def _name(job: str, copies: int) -> str:
    what = "`pathray tile`" if job == "tile" else "`pathray embed --encoder mean_rgb`"
    return f"**{what}**" if copies == 1 else what


def _cohort(options: Options, copies: int) -> Path:
    folder = options.scratch / f"slides-{copies}"
    folder.mkdir(exist_ok=True)
    for number_ in range(copies):
        link = folder / f"slide{number_}{options.slide.suffix}"
        if not link.exists():
            link.symlink_to(options.slide)
    return folder


def _row(name: str, run: Run, slides: int, loop: Run, one: Run | None = None) -> list[str]:
    row = [name, str(slides), number(run.seconds), number(run.rate), _times(run.rate, loop)]
    if one is None or run is one:
        return [*row, "", ""]
    if run.seconds <= one.seconds:  # a disturbed machine, or one slide lost in the start
        return [*row, "not measurable", ""]
    rate = (run.tiles - one.tiles) / (run.seconds - one.seconds)
    return [*row, number(rate), _times(rate, loop)]


def _times(rate: float, loop: Run) -> str:
    return f"{rate / loop.rate:.2f}×"


def _verdicts(job: str, runs: list[Run], loop: Run) -> list[str]:
    lines = [at_least(f"{job} of one slide against the loop", runs[0].rate / loop.rate, 3)]
    if len(runs) > 1:
        rate = runs[-1].rate / loop.rate
        lines.append(at_least(f"{job} of the cohort against the loop", rate, 3))
    return lines
