"""From the flags of `pathray finetune` to a run, with what is wrong found before Ray starts."""

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jobs.cluster import Capacity
from jobs.embedded import known_patients
from jobs.finetune import SURVIVAL, Flags
from pathray import outputs, storage
from pathray.barcode import tissue_source_sites
from pathray.clinical.cohort import ClinicalCohort
from pathray.clinical.joining import LeftOut
from pathray.clinical.reading import ClinicalData, read_clinical
from pathray.clinical.targets import ClassTarget, SurvivalTarget, Target
from pathray.errors import RequestError
from pathray.evaluation.folds import Fold, k_folds, monte_carlo
from pathray.evaluation.labels import Labels
from pathray.evaluation.splitfiles import read_splits
from pathray.finetuning.recipe import (
    CLASS_BATCH,
    CLASS_RATE,
    EPOCHS,
    PATIENCE,
    SURVIVAL_BATCH,
    SURVIVAL_RATE,
    WEIGHT_DECAY,
    Recipe,
)
from pathray.finetuning.result import CohortCounts
from pathray.metadata import digest_of_lines
from pathray.mil.aggregators import aggregators
from pathray.mil.bagfiles import BagFile, find_bag_files
from pathray.mil.formats.bag import Made
from pathray.mil.packing import Packing

KFOLD_FOLDS, MONTE_CARLO_FOLDS = 5, 10
FLAG_NAMES = {
    "rate": "lr",
    "level": "bags",
    "most_tiles": "max_tiles",
    "balance": "class_balance",
}
"""What flags call the parts of a recipe, where that is something else."""


@dataclass(frozen=True)
class Request:
    """A run: the cohort, whose slides all have tiles, its embeddings, its folds, its recipe."""

    out: str
    target: str
    cohort: ClinicalCohort
    counts: CohortCounts
    files: tuple[BagFile, ...]
    made: Made
    folds: tuple[Fold, ...]
    recipe: Recipe
    settings: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the target; empty for survival."""
        return getattr(self.cohort.target, "classes", ())


def settle(flags: Flags) -> Request:
    """The run that the flags ask for. RequestError, one line, for what cannot be."""
    out = storage.absolute(flags.out)
    aggregators.get(flags.aggregator)
    outputs.refuse_foreign(out)
    _check_tiles(flags)
    found = find_bag_files(str(flags.embeddings))
    clinical = read_clinical(
        str(flags.cohort),
        _target(flags),
        known_patients(str(flags.embeddings), found),
        flags.patient_id,
    )
    wanted = set(clinical.cohort.slide_ids)
    files = [file for file in found if file.slide_id in wanted]
    plan = Packing(files).plan
    tiles = dict(zip((f.slide_id for f in plan.files), np.diff(plan.offsets), strict=True))
    clinical = _without_empty(clinical, tiles)
    cohort = clinical.cohort
    files = [file for file in files if tiles[file.slide_id]]
    folds, notes = _folds(flags, cohort)
    recipe = _recipe(flags)
    counts = _counts(clinical, notes, int(sum(tiles[s] for s in cohort.slide_ids)))
    request = Request(
        out, str(flags.target), cohort, counts, tuple(files), plan.made, folds, recipe, {}
    )
    return replace(request, settings=_settings(flags, request))


def claim(request: Request, flags: Flags, capacity: Capacity) -> Request:
    """The run on its hardware, with its folder claimed: it can be started.

    RequestError when the folder holds a run of other settings.
    """
    recipe, settings = request.recipe, dict(request.settings)
    if flags.precision == "auto":
        earlier = outputs.read_settings(request.out) or {}
        usual = "bf16" if gpus_per_fold(flags, capacity) else "fp32"
        recipe = recipe.model_copy(update={"precision": earlier.get("precision", usual)})
    settings |= {"precision": recipe.precision}
    outputs.put_settings(request.out, settings)
    return replace(request, recipe=recipe, settings=settings)


def gpus_per_fold(flags: Flags, capacity: Capacity) -> float:
    """What the flags say, or one where the cluster has some; RequestError if it has none."""
    asked = flags.gpus_per_fold
    if asked and not (capacity.gpus or capacity.grows):
        raise RequestError("--gpus-per-fold: the cluster has no GPU")
    if flags.cpus_per_fold > capacity.cpus and not capacity.grows:
        raise RequestError(
            f"--cpus-per-fold {flags.cpus_per_fold:g}: there are {capacity.cpus:g} CPUs in all"
        )
    return asked if asked is not None else float(capacity.gpus >= 1)


def _check_tiles(flags: Flags) -> None:
    if flags.tiles is None:
        return
    settings = outputs.read_settings(storage.absolute(flags.tiles))
    if settings is None or settings.get("kind") != "tiles":
        raise RequestError(f"--tiles: {flags.tiles} holds no tile shards of `pathray tile`")


def _target(flags: Flags) -> Target:
    if flags.target == SURVIVAL:
        return SurvivalTarget(flags.time_column, flags.event_column, flags.censored_column)
    classes = tuple(part.strip() for part in (flags.classes or "").split(",") if part.strip())
    return ClassTarget(str(flags.target), classes)


def _without_empty(clinical: ClinicalData, tiles: dict[str, Any]) -> ClinicalData:
    cohort = clinical.cohort
    empty = tuple(slide for slide in cohort.slide_ids if not tiles[slide])
    if not empty:
        return clinical
    kept = np.flatnonzero([bool(tiles[slide]) for slide in cohort.slide_ids])
    left_out = (*clinical.left_out, LeftOut("slide(s)", empty, "without a tile"))
    return replace(clinical, cohort=cohort.take(kept), left_out=left_out)


def _folds(flags: Flags, cohort: ClinicalCohort) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    if flags.splits is not None:
        given = read_splits(flags.splits, cohort, flags.validation, flags.seed)
        return given.folds, given.notes
    strata = cohort.strata()
    sites = tissue_source_sites(strata.patients) if flags.site_preserved else None
    if flags.cv == "kfold":
        count = flags.folds or KFOLD_FOLDS
        made = k_folds(strata, count, flags.validation, flags.seed, flags.repeats, sites)
    else:
        count = flags.folds or MONTE_CARLO_FOLDS
        made = monte_carlo(strata, count, flags.validation, flags.test, flags.seed, sites)
    return tuple(made), ()


def _recipe(flags: Flags) -> Recipe:
    survival = flags.survival
    return Recipe(
        aggregator=flags.aggregator,
        loss=flags.loss if survival else "ce",
        level=flags.bags or ("patient" if survival else "slide"),
        rate=flags.lr or (SURVIVAL_RATE if survival else CLASS_RATE),
        weight_decay=WEIGHT_DECAY if flags.weight_decay is None else flags.weight_decay,
        dropout=flags.dropout,
        epochs=flags.epochs or EPOCHS,
        patience=flags.patience or PATIENCE,
        batch_bags=flags.batch_bags or (SURVIVAL_BATCH if survival else CLASS_BATCH),
        most_tiles=flags.max_tiles,
        balance=flags.class_balance and not survival,
        inst_loss=flags.inst_loss,
        subtyping=flags.subtyping,
        alpha=flags.alpha if survival and flags.loss == "nll" else 0.0,
        precision="fp32" if flags.precision == "auto" else flags.precision,
    )


def _counts(clinical: ClinicalData, notes: tuple[str, ...], tiles: int) -> CohortCounts:
    cohort, strata = clinical.cohort, clinical.cohort.strata()
    sizes = np.bincount(strata.of, minlength=len(strata.names))
    return CohortCounts(
        slides=len(cohort),
        patients=len(strata.patients),
        tiles=tiles,
        groups=dict(zip(strata.names, sizes.tolist(), strict=True)),
        joined_on=clinical.joined_on,
        left_out=tuple(map(str, clinical.left_out)),
        warnings=clinical.warnings,
        notes=notes,
        digest=digest_of_lines(_lines(cohort)),
    )


def _lines(cohort: ClinicalCohort) -> list[str]:
    target = cohort.target
    if isinstance(target, Labels):
        values = [target.classes[value] for value in target.values]
    else:
        values = [f"{t!r} {e}" for t, e in zip(target.time.tolist(), target.event, strict=True)]
    rows = zip(cohort.slide_ids, cohort.patient_ids, values, strict=True)
    return ["\t".join(row) for row in rows]


def _settings(flags: Flags, request: Request) -> dict[str, Any]:
    """All that decides the result, under the names of the flags where there are any."""
    recipe = request.recipe.model_dump(exclude={"precision"})
    sources = [(file.slide_id, file.entry.source) for file in request.files]
    objects = [f"{slide} {source.size} {source.version}" for slide, source in sources]
    folds = [[f.name, f.repeat, f.train, f.validation, f.test] for f in request.folds]
    return {
        "kind": "slide models",
        "target": request.target,
        **{FLAG_NAMES.get(name, name): value for name, value in recipe.items()},
        "folds": len(request.folds),
        "splits_digest": digest_of_lines([json.dumps(folds)]),
        "seed": flags.seed,
        "cohort_digest": request.counts.digest,
        "embeddings_digest": digest_of_lines(objects),
        "encoder_digest": request.made.encoder_digest,
        "mpp": request.made.mpp,
        "tile_size": request.made.tile_size,
        "dim": request.made.dim,
    }
