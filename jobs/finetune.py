"""`pathray finetune`: slide or tile models from embeddings and labels, cross-validated."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]

SURVIVAL = "survival"
TILE_ONLY = (
    *("method", "encoder", "weights", "random_init", "layer_decay", "num_workers", "batch_size"),
)
SLIDE_ONLY = (
    *("embeddings", "cohort", "target", "aggregator", "loss", "alpha", "bags", "cv", "dropout"),
    *("splits", "repeats", "inst_loss", "subtyping", "max_tiles", "patient_id"),
    *("time_column", "event_column", "censored_column", "time_unit", "classes", "class_balance"),
    *("cpus_per_fold", "gpus_per_fold", "validation", "test", "batch_bags", "site_preserved"),
)


class Flags(BaseModel):
    """Train and judge models of classes or survival on embedded slides, or of labelled tiles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embeddings: str | None = Field(
        None, description="embeddings, one file a slide: ours, or .h5 or .pt of CLAM and TRIDENT"
    )
    cohort: str | None = Field(None, description="clinical table, CSV or Parquet")
    target: str | None = Field(None, description="column of classes, or survival")
    out: str = Field(description="folder or prefix for the results (any fsspec URI)", min_length=1)
    level: Literal["slide", "tile"] = Field("slide", description="what is predicted")
    aggregator: str = Field(
        "clam_sb",
        description="how tiles become a slide: abmil, clam_mb, clam_sb, dsmil, max, mean, transmil",
    )
    bags: Literal["slide", "patient"] | None = Field(
        None, description="what a bag is (default: slide; for survival patient, with all slides)"
    )
    patient_id: str = Field(
        "patient_id", description="column of patients, or tcga (from barcodes), or slide"
    )
    classes: str | None = Field(
        None, description="the labels, comma-separated, in order; others are refused"
    )
    time_column: str = Field("time", description="for survival: follow-up time")
    event_column: str = Field("event", description="for survival: 1 = event seen, 0 = censored")
    censored_column: str | None = Field(
        None, description="for survival: column of the opposite coding, instead of --event-column"
    )
    time_unit: str | None = Field(None, description="for survival: unit of time, for the report")
    loss: Literal["cox", "nll"] = Field(
        "cox", description="for survival: Cox's, or of hazards in 4 intervals of time"
    )
    alpha: float = Field(
        0.15, ge=0, le=1, description="for --loss nll: extra weight of events (MCAT: 0.15)"
    )
    cv: Literal["kfold", "monte-carlo"] = Field(
        "kfold", description="each patient tested once, or folds drawn anew as CLAM and BEPH do"
    )
    folds: int | None = Field(None, ge=1, description="default: 5, for monte-carlo 10")
    repeats: int = Field(1, ge=1, description="of k-fold, each with other folds")
    validation: Share = Field(0.1, description="share of all patients that steers training")
    test: Share = Field(0.1, description="for --cv monte-carlo: share of all patients tested")
    site_preserved: bool = Field(
        False, description="keep each TCGA tissue source site on one side of a split"
    )
    splits: str | None = Field(
        None, description="given folds: CLAM's splits folder, or a table of patient_id and fold"
    )
    lr: Positive | None = Field(
        None,
        description="Adam's rate (default: CLAM's 1e-4, for survival BEPH's 2e-4; "
        "of --method full 2e-4 at the peak)",
    )
    weight_decay: float | None = Field(
        None, ge=0, description="default: CLAM's and BEPH's 1e-5; of --method full BEiT's 0.05"
    )
    dropout: float = Field(0.25, ge=0, lt=1, description="CLAM's and BEPH's")
    epochs: int | None = Field(
        None, gt=0, description="most epochs (default: CLAM's 200; tiles: 20)"
    )
    patience: int | None = Field(
        None,
        gt=0,
        description="epochs without a lower validation loss, then stop (CLAM's 20; tiles: 5)",
    )
    batch_bags: int | None = Field(
        None, gt=0, description="bags a step (default: 8, for survival 32)"
    )
    max_tiles: int | None = Field(
        None,
        gt=0,
        description="tiles of a bag in training, anew each epoch (default: all; "
        "for cox 131072 / --batch-bags)",
    )
    class_balance: bool = Field(True, description="draw bags of all classes equally often")
    inst_loss: Literal["ce", "svm"] = Field(
        "svm", description="CLAM's loss of clustered tiles: its own default is the SVM's"
    )
    subtyping: bool = Field(False, description="for CLAM: the classes exclude each other")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of matrix products; auto: bf16 on a GPU, else fp32"
    )
    seed: int = Field(0, ge=0, description="source of all randomness")
    cpus_per_fold: float = Field(1, gt=0, description="CPUs of the training of a fold")
    gpus_per_fold: float | None = Field(
        None, ge=0, description="a part of one shares it (default: 1 where there are GPUs, else 0)"
    )
    tiles: str | None = Field(
        None, description="tile shards, for pictures of attended tiles; of --level tile: the tiles"
    )
    method: Literal["knn", "linear", "full"] = Field(
        "linear", description="for --level tile: probes of frozen vectors, or the whole encoder"
    )
    encoder: str | None = Field(None, description="for --level tile: the encoder to begin from")
    weights: str | None = Field(None, description="for --level tile: URI of its weights")
    random_init: bool = Field(False, description="for --level tile: seeded random weights")
    layer_decay: float = Field(
        0.65, gt=0, le=1, description="for --method full: rate of a layer to the one above (BEiT)"
    )
    batch_size: int = Field(64, gt=0, description="for --method full: tiles a step, of all workers")
    num_workers: int | None = Field(
        None, ge=0, description="for --method full: as of pretrain; 0: in this process, without Ray"
    )
    registered: str | None = Field(
        None,
        alias="register",
        description="name under which MLflow registers the ensemble of the folds' models",
    )
    alias: str = Field("current", description="alias of the version that --register makes")
    experiment: str = Field("pathray-finetune", description="MLflow experiment", min_length=1)
    cache_gb: float = Field(50.0, gt=0, description="node-local room for the packed embeddings")
    cache_dir: str | None = Field(
        None, description="where they lie (default: PATHRAY_CACHE_DIR, else temporary)"
    )

    @property
    def survival(self) -> bool:
        """Whether follow-up is the target."""
        return self.target == SURVIVAL

    @model_validator(mode="after")
    def _together(self) -> Self:
        foreign = SLIDE_ONLY if self.level == "tile" else TILE_ONLY
        for name in foreign:
            if name in self.model_fields_set:
                raise ValueError(f"{flag(name)} has no meaning with --level {self.level}")
        tile = self.level == "tile"
        needed = ("tiles", "encoder") if tile else ("embeddings", "cohort", "target")
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"{flag(name)} is required with --level {self.level}")
        if self.level == "slide":
            self._protocol()
            self._task()
        elif self.method == "knn" and self.registered:
            raise ValueError("--register has no meaning with --method knn: it makes no model")
        return self

    def _protocol(self) -> None:
        if self.splits is not None:
            for name in ("cv", "folds", "repeats", "site_preserved", "test"):
                if name in self.model_fields_set:
                    raise ValueError(f"{flag(name)} has no meaning with --splits: folds are given")
        if self.cv == "monte-carlo" and self.repeats > 1:
            raise ValueError("every Monte-Carlo fold is a repeat: raise --folds, drop --repeats")
        if self.cv == "kfold" and "test" in self.model_fields_set:
            raise ValueError("--test is for --cv monte-carlo: k folds are tested whole")

    def _task(self) -> None:
        survival = ("time_column", "event_column", "censored_column", "time_unit", "loss", "alpha")
        classes = ("classes", "class_balance", "inst_loss", "subtyping")
        for name in classes if self.survival else survival:
            if name in self.model_fields_set:
                what = "survival" if self.survival else "classes"
                raise ValueError(f"{flag(name)} has no meaning for {what} (--target {self.target})")
        if self.loss == "cox" and "alpha" in self.model_fields_set:
            raise ValueError("--alpha is for --loss nll")
        if {"event_column", "censored_column"} <= self.model_fields_set:
            raise ValueError("give --event-column or --censored-column, not both")
        if self.gpus_per_fold is not None and self.gpus_per_fold > 1:
            raise ValueError("--gpus-per-fold is at most 1: a fold trains on one GPU")


def flag(name: str) -> str:
    """How a field is said on the command line."""
    return "--" + (Flags.model_fields[name].alias or name).replace("_", "-")


def run(flags: Flags) -> int:
    """Train, judge, register; returns the exit code."""
    if flags.level == "tile":
        from jobs.finetunetiles import finetune_tiles

        return finetune_tiles(flags)
    from jobs.finetunerun import finetune  # Ray and torch stay out of --help

    return finetune(flags)
