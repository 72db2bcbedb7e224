"""The head and the tail of every pipeline over slides, on Ray Data."""

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jobs.items import Report, SlideWork, Stage, pack, unpack
from pathray.cohort import Slide, read_cohort
from pathray.slides.tissue import tissue_methods
from pathray.tiling import Tiling, check_mask

if TYPE_CHECKING:
    from ray.data import Dataset


READ_CPUS = 0.5
"""Two readers a CPU: one works while Ray Data takes note that the other has ended."""


def open_cohort(slides: str, tiling: Tiling) -> list[Slide]:
    """The cohort, with what is wrong in the request found before anything is written."""
    tissue_methods.get(tiling.tissue)
    cohort = read_cohort(slides)
    check_mask(tiling, cohort)
    return cohort


def spread(todo: Sequence[SlideWork], plan: Stage, piece: Stage) -> "Dataset":
    """Slides, one a task, to pieces by `plan`; pieces, one a task, to rows by `piece`."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows: Any = {"batch_size": 1, "batch_format": "pyarrow"}
    return (
        ray.data.from_arrow([pack(item) for item in todo])
        .map_batches(plan, num_cpus=READ_CPUS, **rows)
        # A block a piece, so that the pieces of one slide spread over the cluster.
        .repartition(target_num_rows_per_block=1)
        .map_batches(piece, num_cpus=READ_CPUS, **rows)
    )


def reports(dataset: "Dataset") -> Iterator[Report]:
    """Runs the pipeline and gives what its stages report, as it comes."""
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for item, _ in unpack(batch):
            assert isinstance(item, Report)
            yield item
