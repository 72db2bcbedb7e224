"""What a pretraining run is asked for: what decides its curve, and what does not."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pathray import storage
from pathray.encoders import load_encoder
from pathray.encoders.spec import RGB, Encoder
from pathray.pretraining import catalogue
from pathray.pretraining.augment import Augmentation
from pathray.pretraining.objective import Objective, Settings
from pathray.pretraining.parallel import Parallel
from pathray.pretraining.rowgroups import RowGroups
from pathray.pretraining.schedule import Schedule

ROW_GROUPS = "_row_groups.parquet"
CHECKPOINTS, ENCODER = "checkpoints", "encoder"


@dataclass(frozen=True)
class TeacherChoice:
    """The encoder that a tokenizer learns from, as `load_encoder` takes it."""

    name: str
    weights: str | None = None
    random_init: bool = False
    allow_pickle: bool = False

    def load(self, seed: int, device: str) -> Encoder:
        """The encoder; RequestError when its weights cannot be had."""
        return load_encoder(
            self.name,
            weights=self.weights,
            random_init=self.random_init,
            allow_pickle=self.allow_pickle,
            seed=seed,
            device=device,
        )


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything that decides a run's curve: a rerun must ask for the same.

    `batch_size` is the effective one, over all workers and micro-batches. `lr` is the peak
    learning rate, `warmup` in steps. `mean` and `std` are the tiles', RGB in 0..1.
    """

    tiles: str
    objective: str
    size: str
    input_size: int
    tokenizer: str | None
    teacher: TeacherChoice | None
    codebook_size: int
    drop_path: float
    seed: int
    batch_size: int
    steps: int
    warmup: int
    lr: float
    final_lr: float
    betas: tuple[float, float]
    weight_decay: float
    clip: float | None
    precision: Literal["fp32", "bf16"]
    mean: RGB
    std: RGB
    crop_scale: tuple[float, float]
    colour: float
    stain: float
    vertical_flip: bool
    masks: bool
    mpp: float | None

    def identity(self, guide: str) -> Mapping[str, Any]:
        """What an output folder is claimed for; `guide` is the digest of the frozen network."""
        where = ("tokenizer", "teacher")  # it is what they hold that counts
        return {k: v for k, v in asdict(self).items() if k not in where} | {
            "kind": "pretraining",
            "guide": guide,
        }

    @property
    def schedule(self) -> Schedule:
        """The learning rate of every step."""
        return Schedule(self.lr, self.final_lr, self.steps, self.warmup)

    @property
    def augmentation(self) -> Augmentation:
        """How tiles become views."""
        return Augmentation(
            self.input_size, self.crop_scale, self.colour, self.stain, self.vertical_flip
        )

    def build(self, device: str = "cpu") -> Objective:
        """The objective on `device`, its weights drawn from the seed.

        RequestError when its tokenizer or teacher cannot be had or does not fit.
        """
        settings = Settings(
            size=self.size,
            input_size=self.input_size,
            mean=self.mean,
            std=self.std,
            seed=self.seed,
            drop_path=self.drop_path,
            tokenizer=self.tokenizer,
            teacher=self.teacher.load(self.seed, device) if self.teacher else None,
            codebook_size=self.codebook_size,
        )
        return catalogue.build(self.objective, settings).to(device)


@dataclass(frozen=True, kw_only=True)
class Practice:
    """How a run is carried out: free to differ from one start to the next.

    `micro_batch` is the most tiles that pass a worker's network at once; `*_every` count
    steps; `probe` is the URI of labelled tiles.
    """

    out: str
    micro_batch: int
    checkpoint_every: int
    log_every: int
    keep: int = 3
    parallel: Parallel = "ddp"
    compile: bool = False
    probe: str | None = None
    probe_every: int = 1000

    def logs(self, done: int, steps: int) -> bool:
        """Whether a row of the curve ends after `done` steps."""
        return done % self.log_every == 0 or self.saves(done, steps) or self.probes(done, steps)

    def saves(self, done: int, steps: int) -> bool:
        """Whether a checkpoint is made after `done` steps."""
        return done % self.checkpoint_every == 0 or done == steps

    def probes(self, done: int, steps: int) -> bool:
        """Whether the features are probed after `done` steps."""
        return self.probe is not None and (done % self.probe_every == 0 or done == steps)


def put_row_groups(out: str, groups: RowGroups) -> None:
    """Keep where the tiles lie: a resumed run sees no shard that was added later."""
    storage.put_bytes(storage.join(out, ROW_GROUPS), groups.to_bytes())


def read_row_groups(out: str) -> RowGroups:
    """What `put_row_groups` kept; FileNotFoundError before."""
    return RowGroups.from_bytes(storage.read_bytes(storage.join(out, ROW_GROUPS)))
