"""`pathray pretrain`: learn a tile encoder from tile shards, on Ray Train."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Flags(BaseModel):
    """Learn a tile encoder (or its tokenizer) from tile shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tiles: str = Field(description="tile shards that `pathray tile` made")
    out: str = Field(description="folder or prefix for the run (any fsspec URI)", min_length=1)
    objective: str = Field("beitv2", description="what is learned: beitv2, or vqkd (its tokenizer)")
    size: str = Field("base", description="of the encoder: tiny, small, base or large")
    tokenizer: str | None = Field(
        None, description="for beitv2: folder of a tokenizer, the `encoder` of a vqkd run"
    )
    teacher: str | None = Field(
        None, description="for vqkd: encoder with patch tokens to learn from"
    )
    weights: str | None = Field(None, description="URI of the teacher's weights")
    random_init: bool = Field(False, description="a teacher of seeded random weights: for trials")
    allow_pickle: bool = Field(
        False, description="load a teacher that needs pickled code: trust it"
    )
    codebook_size: int = Field(8192, ge=2, description="for vqkd: codes")
    input_size: int = Field(224, gt=0, le=2048, description="side of a view in pixels")
    batch_size: int | None = Field(
        None, gt=0, description="tiles a step over all workers (default: the authors')"
    )
    micro_batch: int | None = Field(
        None, gt=0, description="most tiles at once in a worker (default: 128 on a GPU, else 32)"
    )
    epochs: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="how often a tile is seen (default: authors')"
    )
    steps: int | None = Field(None, gt=0, description="length of the run, instead of --epochs")
    lr: Positive | None = Field(
        None, description="peak learning rate (default: the authors', in proportion to the batch)"
    )
    warmup: int | None = Field(
        None, ge=0, description="steps of warm-up (default: the authors' share of the run)"
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="auto: bf16 on a GPU, else fp32"
    )
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth")
    mean: str | None = Field(
        None, description="RGB mean in 0..1, as 0.7,0.5,0.7 (default: of a sample of the tiles)"
    )
    std: str | None = Field(None, description="RGB deviation in 0..1 (default: as --mean)")
    stain_jitter: float = Field(
        0.0, ge=0, le=1, description="strength of a random change of the H&E stain"
    )
    vertical_flip: bool = Field(False, description="flip views upside down too")
    seed: int = Field(0, ge=0, description="source of all randomness")
    num_workers: int | None = Field(
        None, ge=0, description="default: one a GPU, else 1; 0: in this process, without Ray"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: GPUs if there are")
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp", description="fsdp shares the parameters out, for the large sizes"
    )
    compile: bool = Field(False, description="compile the blocks (torch.compile)")
    checkpoint_every: int | None = Field(
        None, gt=0, description="steps (default: a twentieth of the run, at most 1000)"
    )
    keep: int = Field(3, gt=0, description="checkpoints that stay")
    log_every: int = Field(10, gt=0, description="steps of a row of the curve")
    probe: str | None = Field(
        None,
        description="labelled tiles to probe the encoder with: a folder a class, or labels.csv",
    )
    probe_every: int | None = Field(
        None, gt=0, description="steps (default: as --checkpoint-every)"
    )
    experiment: str = Field("pathray-pretrain", description="MLflow experiment", min_length=1)

    @field_validator("mean", "std")
    @classmethod
    def _three_numbers(cls, value: str | None) -> str | None:
        if value is not None:
            rgb(value)
        return value

    @field_validator("input_size")
    @classmethod
    def _whole_patches(cls, value: int) -> int:
        if value % 16:
            raise ValueError("must be a multiple of the patch size, 16")
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give --steps or --epochs, not both")
        if (self.mean is None) != (self.std is None):
            raise ValueError("give --mean and --std together")
        if self.objective == "beitv2" and self.tokenizer is None:
            raise ValueError("beitv2 needs --tokenizer: train one with --objective vqkd")
        if self.objective == "vqkd" and self.teacher is None:
            raise ValueError("vqkd needs --teacher: an encoder with patch tokens")
        for flag, objective in (("tokenizer", "beitv2"), ("teacher", "vqkd")):
            if getattr(self, flag) is not None and self.objective != objective:
                raise ValueError(f"--{flag} is for --objective {objective}")
        if self.teacher is None and (self.weights or self.random_init):
            raise ValueError("--weights and --random-init are of the --teacher")
        if self.batch_size and self.num_workers and self.batch_size % self.num_workers:
            raise ValueError(indivisible(self.batch_size, self.num_workers))
        return self


def indivisible(batch: int, workers: int) -> str:
    """What is wrong with a batch that workers cannot share equally."""
    lower = batch // workers * workers
    near = f"{lower} or {lower + workers}" if lower else str(workers)
    return f"--batch-size {batch} does not divide over {workers} workers: take {near}"


def rgb(text: str) -> tuple[float, float, float]:
    """Three numbers in 0..1, separated by commas; ValueError for anything else."""
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError("must be three numbers, separated by commas") from None
    if not all(0 < part <= 1 for part in (red, green, blue)):
        raise ValueError("must be in 0..1")
    return red, green, blue


def run(flags: Flags) -> int:
    """Train; returns the exit code."""
    from jobs.pretrainrun import pretrain  # Ray and torch stay out of --help

    return pretrain(flags)
