"""The training loop of every objective, on one process or on many."""

from dataclasses import asdict

import torch
from torch import Tensor, nn

from pathray import storage
from pathray.evaluation.labelled import find_labelled
from pathray.pretraining.batches import Batches
from pathray.pretraining.checkpoints import Checkpoint, Checkpoints
from pathray.pretraining.curve import NotFiniteError, Window
from pathray.pretraining.events import Finished, Note, Picture, Row, Started, Tell
from pathray.pretraining.history import put_history
from pathray.pretraining.masked_tiles import draw_views
from pathray.pretraining.objective import Views
from pathray.pretraining.optimiser import build_optimiser, clip_gradients, set_rate
from pathray.pretraining.parallel import World, parallelise, reduced_at_end
from pathray.pretraining.plan import Plan
from pathray.pretraining.probing import Prober
from pathray.pretraining.randomness import key
from pathray.pretraining.run import CHECKPOINTS, ENCODER, Practice, Training, read_row_groups
from pathray.pretraining.state import gather, restore
from pathray.pretraining.views import ViewMaker


def train(training: Training, practice: Practice, world: World, tell: Tell) -> None:
    """Train from the newest checkpoint, or from the start, to the end; export the encoder.

    Every process of `world` calls it with the same arguments. PathrayError for what another
    try would meet again: a loss that is not finite, a store that refuses a checkpoint, a
    damaged shard; it may come on one process alone, and the others must then be ended.
    """
    say: Tell = tell if world.rank == 0 else lambda _: None
    objective = training.build(str(world.device))
    plan = Plan(read_row_groups(practice.out), training.batch_size, training.seed)
    views = ViewMaker(training, objective.grid, world.device)
    prober = Prober(find_labelled(practice.probe), training.seed) if practice.probe else None

    checkpoints = Checkpoints(storage.join(practice.out, CHECKPOINTS), practice.keep)
    found = _newest(checkpoints, world, say)
    first = found.step if found else 0
    if found is None:
        # Before parameters are sharded: it runs a part of the network alone.
        with views.autocast():
            objective.warm_start(views.first(plan, world.rank, world.size))
    if practice.compile:
        for block in objective.blocks():
            block.compile()
    model = parallelise(objective, objective.blocks(), world, practice.parallel)
    optimiser = build_optimiser(model, training.betas, training.weight_decay)
    if found:
        restore(model, optimiser, found)

    say(Started(first))
    rows: list[Row] = []
    if prober and found is None:
        rows.append(Row(0, prober(objective, world)))
        say(rows[-1])
    window = Window(world)
    batches = Batches(
        plan,
        rank=world.rank,
        world=world.size,
        first=first,
        stop=training.steps,
        micro_batch=practice.micro_batch,
        pin_memory=world.device.type == "cuda",
    )
    with batches:
        for step in range(first, training.steps):
            done = step + 1
            # No generator's state is worth saving: every step begins with its own.
            torch.manual_seed(key("step", training.seed, step, world.rank))
            set_rate(optimiser, training.schedule.rate(step))
            figures, waited, seen = _accumulate(model, batches, views, world, training, tell)
            norm = clip_gradients(model.parameters(), training.clip)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            objective.finish_step()
            window.add(figures, norm, waited)

            if step == first:
                say(Picture(f"views-{step:08d}.png", draw_views(seen)))
            if not practice.logs(done, training.steps):
                continue
            values = _figures(window, done, training, checkpoints) | objective.report()
            values["learning_rate"] = training.schedule.rate(step)
            values["epoch"] = done * training.batch_size / plan.tiles
            if prober and practice.probes(done, training.steps):
                values |= prober(objective, world)
            rows.append(Row(done, values))
            say(rows[-1])
            if practice.saves(done, training.steps):
                weights, moments = gather(model, optimiser)
                if world.rank == 0:
                    put_history(practice.out, done, rows)
                    checkpoints.save(Checkpoint(done, weights, moments, asdict(training)))
                rows.clear()
            window.restart_clock()

    objective.export(storage.join(practice.out, ENCODER), training.objective, training.mpp)
    say(Finished())


def _accumulate(
    model: nn.Module,
    batches: Batches,
    views: ViewMaker,
    world: World,
    training: Training,
    tell: Tell,
) -> tuple[dict[str, Tensor], float, Views]:
    """The gradient of a step, from this process's micro-batches.

    Returns this process's mean figures, the seconds it waited for tiles, and its last views.
    """
    figures: dict[str, Tensor] = {}
    waited = 0.0
    for batch in batches:
        for tile in batch.lost:
            tell(Note(f"{tile} cannot be decoded: its neighbour is used"))
        seen = views(batch)
        # A process's gradient is the mean over its own tiles; their mean is the batch's.
        share = len(batch.index) * world.size / training.batch_size
        with reduced_at_end(model, batch.last):
            with views.autocast():
                losses = model(seen)
            (losses["loss"] * share).backward()
        for name, value in losses.items():
            figures[name] = figures.get(name, 0) + value.detach().float() * share
        waited += batch.waited
        if batch.last:
            break
    return figures, waited, seen


def _figures(
    window: Window, done: int, training: Training, checkpoints: Checkpoints
) -> dict[str, float]:
    try:
        return window.close(done, training.batch_size)
    except NotFiniteError as error:
        steps = checkpoints.steps()
        last = f"the last good checkpoint is of step {steps[-1]}" if steps else "no checkpoint yet"
        raise NotFiniteError(
            f"{error}; {last}, in {checkpoints.uri}; try a lower --lr or --precision fp32 "
            "with another --out"
        ) from error


def _newest(checkpoints: Checkpoints, world: World, say: Tell) -> Checkpoint | None:
    """The newest whole checkpoint, of the same step on all processes."""
    found = None
    if world.rank == 0:
        found = checkpoints.newest(lambda text: say(Note(text)))
    step = world.agree(found.step if found else None)
    return found if world.rank == 0 or step is None else checkpoints.read(step)
