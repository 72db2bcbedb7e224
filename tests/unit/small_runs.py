"""Training runs small enough for unit tests, on one process or on several without Ray."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, multiprocessing
from written_shards import write_shard

from pathray.pretraining.checkpoints import Checkpoint, Checkpoints
from pathray.pretraining.events import Event
from pathray.pretraining.loop import train
from pathray.pretraining.parallel import World
from pathray.pretraining.recipe import recipes
from pathray.pretraining.rowgroups import find_row_groups
from pathray.pretraining.run import (
    CHECKPOINTS,
    Practice,
    TeacherChoice,
    Training,
    put_row_groups,
)
from pathray.tilestore import PNG, encode_image

SIDE, BATCH, STEPS, CODES = 32, 8, 6, 32


def write_tiles(folder: Path, slides: int = 3, of_each: int = 12) -> Path:
    """Shards of tiles in patterns of several scales."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for slide in range(slides):
        coarse = rng.integers(0, 160, (of_each, 4, 4, 3))
        tiles = np.kron(coarse, np.ones((1, SIDE // 4, SIDE // 4, 1), int))
        tiles = (tiles + rng.integers(0, 90, tiles.shape)).astype(np.uint8)
        write_shard(folder, f"slide-{slide}", [encode_image(t, PNG) for t in tiles], side=SIDE)
    return folder


def training(tiles: Path, objective: str = "vqkd", **other: Any) -> Training:
    """A run of `STEPS` steps of `BATCH` tiles."""
    recipe = recipes.get(objective)
    settings: dict[str, Any] = {
        "tiles": str(tiles),
        "objective": objective,
        "size": "tiny",
        "input_size": SIDE,
        "tokenizer": None,
        "teacher": None,
        "codebook_size": CODES,
        "drop_path": 0.0,
        "seed": 3,
        "batch_size": BATCH,
        "steps": STEPS,
        "warmup": 2,
        "lr": 1e-3,
        "final_lr": 1e-5,
        "betas": recipe.betas,
        "weight_decay": recipe.weight_decay,
        "clip": recipe.clip,
        "precision": "fp32",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
        "crop_scale": recipe.crop_scale,
        "colour": recipe.colour,
        "stain": 0.0,
        "vertical_flip": False,
        "masks": recipe.masks,
        "mpp": 0.5,
    }
    if objective == "vqkd":
        settings["teacher"] = TeacherChoice("timm/test_vit", random_init=True)
    return Training(**(settings | other))


def practice(out: Path, **other: Any) -> Practice:
    """A row of the curve every step, a checkpoint every second."""
    settings: dict[str, Any] = {"micro_batch": BATCH, "checkpoint_every": 2, "log_every": 1}
    return Practice(out=str(out), **(settings | other))


def run(asked: Training, how: Practice, world: World | None = None) -> list[Event]:
    """Train in this process; returns what was told."""
    told: list[Event] = []
    put_row_groups(how.out, find_row_groups(asked.tiles))
    train(asked, how, world or World(), told.append)
    return told


def last_checkpoint(out: Path) -> Checkpoint:
    """The newest checkpoint of a run."""
    found = Checkpoints(str(out / CHECKPOINTS)).newest(print)
    assert found is not None
    return found


def run_on_two_processes(runs: Sequence[tuple[Training, Practice]], folder: Path) -> None:
    """Two gloo processes make the runs one after another."""
    for asked, how in runs:
        put_row_groups(how.out, find_row_groups(asked.tiles))
    multiprocessing.spawn(_process, (runs, folder), nprocs=2)


def _process(rank: int, runs: Sequence[tuple[Training, Practice]], folder: Path) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    for asked, how in runs:
        train(asked, how, World(rank, 2), lambda event: None)
    distributed.destroy_process_group()
