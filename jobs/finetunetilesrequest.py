"""From the flags of `pathray finetune --level tile` to a run."""

from dataclasses import asdict, dataclass
from typing import Any

from jobs import embed
from jobs.cluster import Capacity
from jobs.encoding import Described, EncoderChoice, choose_encoder
from jobs.finetune import Flags
from jobs.flags import validate
from jobs.tilefeatures import TileSize
from pathray import outputs, storage
from pathray.clinical.cohort import ClinicalCohort
from pathray.evaluation.folds import Fold
from pathray.evaluation.labelled import find_labelled, read_tile
from pathray.finetuning.result import CohortCounts
from pathray.finetuning.tiles.cohort import tile_cohort, tile_folds
from pathray.finetuning.tiles.tuning import EPOCHS, PATIENCE, RATE, WEIGHT_DECAY, TuningPlan
from pathray.metadata import digest_of_lines

FOLDS = 5
UNGROUPED = (
    "Each tile is a group of its own: copies and overlaps of one image may be on both sides of a "
    "split, which flatters."
)


@dataclass(frozen=True)
class Request:
    """A run over labelled tiles, all of one size."""

    out: str
    cohort: ClinicalCohort
    size: TileSize
    folds: list[Fold]
    embed_flags: embed.Flags
    choice: EncoderChoice


def settle(flags: Flags) -> Request:
    """The run that the flags ask for. RequestError, one line, for what cannot be."""
    out = storage.absolute(flags.out)
    outputs.refuse_foreign(out)
    cohort = tile_cohort(find_labelled(storage.absolute(str(flags.tiles)), "--tiles"))
    named = ("encoder", "weights", "random_init", "seed")
    told = {name: getattr(flags, name) for name in named} | {"slides": "tiles", "out": flags.out}
    precision = "fp32" if flags.method == "full" else flags.precision
    embed_flags = validate(embed.Flags, told | {"precision": precision})
    folds = tile_folds(cohort, flags.folds or FOLDS, flags.seed)
    size = TileSize.of(read_tile(cohort.slide_ids[0]))
    return Request(out, cohort, size, folds, embed_flags, choose_encoder(embed_flags))


def settings_of(
    flags: Flags, request: Request, described: Described, capacity: Capacity
) -> dict[str, Any]:
    """All that decides the result."""
    settings: dict[str, Any] = {
        "kind": "tile models",
        "method": flags.method,
        "folds": len(request.folds),
        "seed": flags.seed,
        "cohort_digest": _cohort_digest(request.cohort),
        "encoder_digest": described.digest,
        "encoder_precision": described.precision,
    }
    return settings | (asdict(plan_of(flags, capacity)) if flags.method == "full" else {})


def _cohort_digest(cohort: ClinicalCohort) -> str:
    values = getattr(cohort.target, "values", ())
    rows = zip(cohort.slide_ids, cohort.patient_ids, values, strict=True)
    return digest_of_lines([f"{tile}\t{group}\t{value}" for tile, group, value in rows])


def plan_of(flags: Flags, capacity: Capacity) -> TuningPlan:
    """How `--method full` trains."""
    return TuningPlan(
        rate=flags.lr or RATE,
        weight_decay=WEIGHT_DECAY if flags.weight_decay is None else flags.weight_decay,
        layer_decay=flags.layer_decay,
        batch=flags.batch_size,
        epochs=flags.epochs or EPOCHS,
        patience=flags.patience or PATIENCE,
        bf16=flags.precision == "bf16" or (flags.precision == "auto" and capacity.gpus >= 1),
        seed=flags.seed,
    )


def counts_of(cohort: ClinicalCohort, classes: tuple[str, ...], digest: str) -> CohortCounts:
    """The cohort in numbers: groups by class; one of two classes counts in both."""
    values = getattr(cohort.target, "values", ())
    owners = list(zip(cohort.patient_ids, values, strict=True))
    groups = {
        name: len({group for group, value in owners if value == number})
        for number, name in enumerate(classes)
    }
    grouped = len(set(cohort.patient_ids)) < len(cohort)
    return CohortCounts(
        slides=len(cohort),
        patients=len(set(cohort.patient_ids)),
        tiles=len(cohort),
        groups=groups,
        joined_on="path",
        left_out=(),
        warnings=() if grouped else (UNGROUPED,),
        notes=(),
        digest=digest,
    )
