"""Section `vit`: a whole embedding job with a ViT-B against the bare network."""

import os

from jobs.encoding import CPU_BATCH, GPU_BATCH, MAX_THREADS
from tests.benchmarks import tiles
from tests.benchmarks.command import pathray
from tests.benchmarks.document import Table, at_least, number
from tests.benchmarks.options import Options
from tests.benchmarks.process import worker

ENCODER = "timm/vit_base_patch16_224"


def section(options: Options) -> list[Table]:
    """One table."""
    import torch

    batch = GPU_BATCH if torch.cuda.is_available() else CPU_BATCH
    threads = min(MAX_THREADS, len(os.sched_getaffinity(0)))
    most = len(tiles.plan_of(options.slide, tiles.tissue_tiling()).x)
    wanted = min(options.vit_tiles, most)
    bare = worker("network", ENCODER, wanted, batch, threads)
    flags = ("--mpp", "native", "--tiles-per-slide", wanted, "--batch-size", batch)
    job = pathray(
        *("embed", "--encoder", ENCODER, "--random-init", *flags),
        *("--slides", options.slide, "--out", options.scratch / "embeddings"),
    )
    base, encoding = bare["tiles"] / bare["seconds"], job.tiles / job.stages["encode"]
    rows = [
        ["the bare network", number(bare["seconds"]), number(base), "1.00×"],
        ["**`pathray embed`**, everything included", *_cells(job.seconds, job.rate, base)],
        ["its encode stage alone", *_cells(job.stages["encode"], encoding, base)],
    ]
    return [
        Table(
            "Embedding with a ViT-B",
            f"`{ENCODER}`, random weights, {job.tiles:,} sampled tissue tiles, {bare['precision']} "
            f"on {bare['device']}, batches of {batch}, {threads} threads. The bare network runs "
            "on a batch that is normalised and in memory; its loading is not counted.",
            ("", "seconds", "tiles/s", "of the bare network"),
            rows,
            [
                "Between the job and its encode stage lie Ray's start, two loads of the encoder "
                f"and the first piece's reading: {job.seconds - job.stages['encode']:.0f} s here, "
                "paid once a run however long it is.",
                at_least("The job against the bare network", job.rate / base, 0.9),
                at_least("Its encode stage against the bare network", encoding / base, 0.9),
            ],
        )
    ]


def _cells(seconds: float, rate: float, base: float) -> list[str]:
    return [number(seconds), number(rate), f"{rate / base:.2f}×"]
