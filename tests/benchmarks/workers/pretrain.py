"""A step of masked image modelling: `pretrain.py WAY TILES TOKENIZER STEPS`.

`bare` is forward, backward and AdamW on views in memory; `plain` also makes the views, from
decoded tiles in memory; `loop` is `pathray.pretraining.loop.train` from shards on disk.
`pretrain.py tokenizer TILES TOKENIZER 1` makes the tokenizer first.
"""

import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from pathray.pretraining.batches import Batches
from pathray.pretraining.events import Event, Row
from pathray.pretraining.flops import flops_per_image
from pathray.pretraining.loop import train
from pathray.pretraining.parallel import World
from pathray.pretraining.plan import Plan
from pathray.pretraining.recipe import recipes
from pathray.pretraining.rowgroups import find_row_groups
from pathray.pretraining.run import Practice, TeacherChoice, Training, put_row_groups
from pathray.pretraining.views import ViewMaker
from tests.benchmarks.workers.timing import tell

GPU = torch.cuda.is_available()
SIZE, BATCH = ("base", 128) if GPU else ("tiny", 16)
CLOCK = time.perf_counter if GPU else time.process_time
"""On a CPU, busy seconds of all threads: others on the machine disturb them little."""
WARM = 3
"""Steps that do not count: allocation, and the first tiles from disk."""
PEAK_TFLOPS = {"H100": 989, "H200": 989, "A100": 312}
"""Dense bf16, of the vendor's data sheets."""


def training(tiles: str, tokenizer: str, steps: int, objective: str = "beitv2") -> Training:
    recipe = recipes.get(objective)
    learns = objective == "vqkd"
    return Training(
        tiles=tiles,
        objective=objective,
        size="tiny" if learns else SIZE,
        input_size=224,
        tokenizer=None if learns else tokenizer,
        teacher=TeacherChoice("timm/test_vit", random_init=True) if learns else None,
        codebook_size=8192 if GPU else 512,
        drop_path=0.0,
        seed=0,
        batch_size=BATCH,
        steps=steps,
        warmup=1,
        lr=1e-4,
        final_lr=1e-5,
        betas=recipe.betas,
        weight_decay=recipe.weight_decay,
        clip=recipe.clip,
        precision="bf16" if GPU else "fp32",
        mean=(0.7, 0.5, 0.7),
        std=(0.2, 0.2, 0.2),
        crop_scale=recipe.crop_scale,
        colour=recipe.colour,
        stain=0.0,
        vertical_flip=False,
        masks=recipe.masks,
        mpp=None,
    )


def plain(asked: Training, bare: bool) -> dict[str, Any]:
    """Seconds of a step, and operations of a tile."""
    device = torch.device("cuda" if GPU else "cpu")
    maker = ViewMaker(asked, asked.input_size // 16, device)
    plan = Plan(find_row_groups(asked.tiles), asked.batch_size, asked.seed)
    with Batches(plan, stop=1) as batches:
        tiles = next(batches)
    views = maker(tiles)
    objective = asked.build(str(device))
    flops = flops_per_image(objective, views)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-4, fused=GPU)
    seconds = []
    for _ in range(WARM + asked.steps):
        begun = CLOCK()
        views = views if bare else maker(tiles)
        with maker.autocast():
            loss = objective(views)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 3.0)
        optimiser.step()
        optimiser.zero_grad()
        loss.item()
        seconds.append(CLOCK() - begun)
    return {"seconds": statistics.median(seconds[WARM:]), "flops": flops}


def loop(asked: Training) -> dict[str, Any]:
    """Seconds of a step, and the share of the time that it waited for tiles."""
    rows: list[Row] = []
    told: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, Row):
            rows.append(event)
            told.append(CLOCK())

    with tempfile.TemporaryDirectory() as out:
        put_row_groups(out, find_row_groups(asked.tiles))
        every = asked.steps + 1  # no checkpoint within the steps that count
        how = Practice(out=out, micro_batch=BATCH, checkpoint_every=every, log_every=1)
        train(asked, how, World(device=torch.device("cuda" if GPU else "cpu")), hear)
    seconds = [b - a for a, b in pairwise(told[WARM:])]
    waits = [row.values["data_wait"] for row in rows[WARM:]]
    memory = rows[-1].values["memory_gb"]
    return {
        "seconds": statistics.median(seconds),
        "data_wait": statistics.fmean(waits),
        "memory_gb": memory,
    }


def peak_flops() -> float | None:
    """Operations a second that this GPU can do in bf16; None where nobody says."""
    name = torch.cuda.get_device_name(0) if GPU else ""
    return next((peak * 1e12 for part, peak in PEAK_TFLOPS.items() if part in name), None)


def main(way: str, tiles: str, tokenizer: str, steps: int) -> None:
    if way == "tokenizer":
        asked = training(tiles, tokenizer, 1, "vqkd")
        out = str(Path(tokenizer).parent)
        put_row_groups(out, find_row_groups(tiles))
        how = Practice(out=out, micro_batch=BATCH, checkpoint_every=1, log_every=1)
        train(asked, how, World(), lambda event: None)
        tell()
        return
    asked = training(tiles, tokenizer, steps)
    found = loop(asked) if way == "loop" else plain(asked, bare=way == "bare")
    tell(**found, batch=BATCH, size=SIZE, gpu=GPU, peak=peak_flops())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
