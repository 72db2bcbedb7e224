"""The head and the tail of every pipeline over slides, on Ray Data."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from jobs.items import Report, SlideWork, pack, unpack
from jobs.stages import PieceWork, SlideJob, plan_stage
from pathray.cohort import Slide, read_cohort
from pathray.slides.tissue import tissue_methods
from pathray.tiling import Tiling, check_mask


def open_cohort(slides: str, tiling: Tiling) -> list[Slide]:
    """The cohort, with what is wrong in the request found before anything is written."""
    tissue_methods.get(tiling.tissue)
    cohort = read_cohort(slides)
    check_mask(tiling, cohort)
    return cohort


def pieces_of(todo: Sequence[SlideWork], job: SlideJob, work: PieceWork) -> Any:
    """A dataset of one piece a block, planned slide by slide."""
    return (
        source(todo)
        .map_batches(
            plan_stage, batch_size=1, batch_format="pyarrow", fn_args=(job, work), num_cpus=1
        )
        # A block a piece, so that the pieces of one slide spread over the cluster.
        .repartition(target_num_rows_per_block=1)
    )


def source(items: Sequence[SlideWork]) -> Any:
    """A dataset of one work item a block."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    return ray.data.from_arrow([pack(item) for item in items])


def reports(dataset: Any) -> Iterator[Report]:
    """Runs the pipeline and gives what its stages report, as it comes."""
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for item, _ in unpack(batch):
            assert isinstance(item, Report)
            yield item
