"""From the flags of `pathray pretrain` to a run, with what is wrong found before Ray starts."""

from dataclasses import dataclass, replace
from typing import Any

from jobs.pretrain import Flags, rgb
from pathray import outputs, storage
from pathray.encoders.directory import is_encoder_directory
from pathray.errors import RequestError
from pathray.evaluation.labelled import find_labelled
from pathray.evaluation.probe import grouped_folds
from pathray.metadata import read_metadata
from pathray.pretraining.checkpoints import Checkpoints
from pathray.pretraining.normalisation import sampled_normalisation
from pathray.pretraining.recipe import recipes
from pathray.pretraining.rowgroups import RowGroups, find_row_groups
from pathray.pretraining.run import (
    CHECKPOINTS,
    ENCODER,
    Practice,
    TeacherChoice,
    Training,
    put_row_groups,
    read_row_groups,
)

CHECKPOINTS_A_RUN, MOST_STEPS_BETWEEN = 20, 1000
CPU_MICRO_BATCH, GPU_MICRO_BATCH = 32, 128


@dataclass(frozen=True)
class Request:
    """A run. `guide` is the digest of the frozen network that it learns from."""

    training: Training
    practice: Practice
    groups: RowGroups
    guide: str
    notes: tuple[str, ...]


def settle(flags: Flags) -> Request:
    """The run that the flags ask for, but for what depends on the hardware.

    RequestError, one line, for what cannot be.
    """
    out = storage.absolute(flags.out)
    recipes.get(flags.objective)
    outputs.refuse_foreign(out)
    if flags.probe:
        labelled = find_labelled(storage.absolute(flags.probe))
        grouped_folds(labelled.labels, labelled.groups, flags.seed)
    earlier = outputs.read_settings(out)
    groups = _row_groups(flags, out)
    training = _training(flags, groups, earlier)
    # Built once here, so that a tokenizer or teacher that does not fit is told at once.
    guide = training.build().guide
    return Request(training, _practice(flags, out, training), groups, guide, _notes(groups))


def claim(draft: Request, flags: Flags, on_gpu: bool) -> Request:
    """The run on its hardware, with its folder claimed: it can be started.

    RequestError when the folder holds a run of other settings.
    """
    training, practice = draft.training, draft.practice
    earlier = outputs.read_settings(practice.out)
    if flags.precision == "auto":
        usual = "bf16" if on_gpu else "fp32"
        training = replace(training, precision=(earlier or {}).get("precision", usual))
    if flags.micro_batch is None:
        usual_micro = GPU_MICRO_BATCH if on_gpu else CPU_MICRO_BATCH
        practice = replace(practice, micro_batch=usual_micro)
    outputs.put_settings(practice.out, training.identity(draft.guide))
    put_row_groups(practice.out, draft.groups)
    return replace(draft, training=training, practice=practice)


def is_finished(request: Request) -> bool:
    """Whether an earlier run came to the end, its encoder included."""
    out = request.practice.out
    steps = Checkpoints(storage.join(out, CHECKPOINTS)).steps()
    return steps[-1:] == [request.training.steps] and is_encoder_directory(
        storage.join(out, ENCODER)
    )


def _row_groups(flags: Flags, out: str) -> RowGroups:
    try:
        return read_row_groups(out)
    except FileNotFoundError:
        return find_row_groups(flags.tiles)


def _training(flags: Flags, groups: RowGroups, earlier: dict[str, Any] | None) -> Training:
    recipe = recipes.get(flags.objective)
    batch = flags.batch_size or recipe.batch
    epochs = flags.epochs or recipe.epochs
    steps = flags.steps or max(1, round(epochs * groups.tiles / batch))
    share = recipe.warmup_epochs / recipe.epochs
    warmup = round(steps * share) if flags.warmup is None else flags.warmup
    if warmup > steps:
        raise RequestError(f"--warmup {warmup} is longer than the run of {steps} steps")
    mean, std = _normalisation(flags, groups, earlier)
    return Training(
        tiles=storage.absolute(flags.tiles),
        objective=flags.objective,
        size=flags.size,
        input_size=flags.input_size,
        tokenizer=storage.absolute(flags.tokenizer) if flags.tokenizer else None,
        teacher=_teacher(flags),
        codebook_size=flags.codebook_size,
        drop_path=flags.drop_path,
        seed=flags.seed,
        batch_size=batch,
        steps=steps,
        warmup=warmup,
        lr=flags.lr or recipe.lr * batch / recipe.batch,
        final_lr=recipe.final_lr,
        betas=recipe.betas,
        weight_decay=recipe.weight_decay,
        clip=recipe.clip,
        precision="fp32" if flags.precision == "auto" else flags.precision,
        mean=mean,
        std=std,
        crop_scale=recipe.crop_scale,
        colour=recipe.colour,
        stain=flags.stain_jitter,
        vertical_flip=flags.vertical_flip,
        masks=recipe.masks,
        mpp=_mpp(groups),
    )


def _teacher(flags: Flags) -> TeacherChoice | None:
    if flags.teacher is None:
        return None
    return TeacherChoice(flags.teacher, flags.weights, flags.random_init, flags.allow_pickle)


def _normalisation(
    flags: Flags, groups: RowGroups, earlier: dict[str, Any] | None
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if flags.mean and flags.std:
        return rgb(flags.mean), rgb(flags.std)
    if earlier and "mean" in earlier:  # the sample need not be read again
        (r, g, b), (s, t, u) = earlier["mean"], earlier["std"]
        return (r, g, b), (s, t, u)
    sampled = sampled_normalisation(groups, flags.seed)
    return sampled.mean, sampled.std


def _mpp(groups: RowGroups) -> float | None:
    """What the tiles were asked to be cut at; None for native tiles, which may differ."""
    mpp = read_metadata(groups.uris[0]).identity.get("mpp")
    return float(mpp) if isinstance(mpp, int | float) else None


def _practice(flags: Flags, out: str, training: Training) -> Practice:
    usual = max(1, min(MOST_STEPS_BETWEEN, training.steps // CHECKPOINTS_A_RUN))
    every = flags.checkpoint_every or usual
    return Practice(
        out=out,
        micro_batch=flags.micro_batch or CPU_MICRO_BATCH,
        checkpoint_every=every,
        log_every=flags.log_every,
        keep=flags.keep,
        parallel=flags.parallel,
        compile=flags.compile,
        probe=storage.absolute(flags.probe) if flags.probe else None,
        probe_every=flags.probe_every or every,
    )


def _notes(groups: RowGroups) -> tuple[str, ...]:
    if not groups.incomplete:
        return ()
    first = ", ".join(groups.incomplete[:3])
    return (
        f"{len(groups.incomplete)} slides are not wholly tiled ({first}); what is there is used",
    )
