"""Training a whole encoder on labelled tiles, the lower layers more slowly.

The rate of a layer is `layer_decay` times that of the layer above it (BEiT, ICLR 2022, and BEPH's
patch-level tasks). Several processes share every step.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pathray.clinical.cohort import ClinicalCohort
from pathray.encoders.network import Output
from pathray.encoders.pooling import poolings
from pathray.encoders.preprocess import Preprocess
from pathray.encoders.torch_encoder import TorchEncoder
from pathray.errors import PathrayError, RequestError
from pathray.evaluation.labelled import read_tile
from pathray.evaluation.labels import Labels
from pathray.finetuning.result import Epoch
from pathray.pretraining.parallel import World, parallelise
from pathray.pretraining.schedule import Schedule
from pathray.slides.reader import Pixels

RATE, BATCH, WEIGHT_DECAY = 2e-4, 64, 0.05
"""AdamW's: the weight decay is BEiT's; the rate is ours, for a batch of 64."""
EPOCHS, PATIENCE, WARMUP_EPOCHS = 20, 5, 1
READERS = 8


@dataclass(frozen=True)
class TuningPlan:
    """How an encoder is trained: `rate` at the peak of half a cosine, of the head."""

    rate: float = RATE
    weight_decay: float = WEIGHT_DECAY
    layer_decay: float = 0.65
    batch: int = BATCH
    epochs: int = EPOCHS
    patience: int = PATIENCE
    bf16: bool = False
    seed: int = 0


class TileClassifier(nn.Module):
    """An encoder and a linear layer: uint8 tiles (B, H, W, 3) -> logits (B, classes)."""

    def __init__(self, encoder: TorchEncoder, classes: int) -> None:
        super().__init__()
        # Encoders come frozen.
        self.network = encoder.model.requires_grad_(True)
        self.head = nn.Linear(encoder.dim, classes).to(encoder.device)
        layout = torch.contiguous_format
        self._preprocess = Preprocess(encoder.spec, encoder.device, layout)
        self._pool = poolings.get(encoder.spec.pooling)

    def forward(self, tiles: Tensor, turns: int = 0, flip: bool = False) -> Tensor:
        """`turns` quarter turns and a flip: tissue has no upright."""
        images = torch.rot90(self._preprocess(tiles), turns, (2, 3))
        images = images.flip(3) if flip else images
        logits: Tensor = self.head(self._pool(Output(self.network, images)))
        return logits.float()


@dataclass(frozen=True)
class Tuned:
    """A classifier with the weights of its best epoch."""

    model: TileClassifier
    history: tuple[Epoch, ...]
    best_epoch: int


def tune(
    encoder: TorchEncoder,
    train: ClinicalCohort,
    validation: ClinicalCohort,
    plan: TuningPlan,
    world: World | None = None,
    told: Callable[[Epoch], None] = lambda _: None,
) -> Tuned:
    """Train until the validation loss has not fallen for `plan.patience` epochs.

    The encoder holds float32 weights and is taken over. Tiles are read by URI, a batch ahead.
    Every process of the world calls it. PathrayError when the loss stops being a number.
    """
    world = world or World()
    assert isinstance(train.target, Labels)
    torch.manual_seed(plan.seed)
    model = TileClassifier(encoder, len(train.target.classes))
    run = _Tuning(model, plan, world, steps=plan.epochs * -(-len(train) // plan.batch))
    history: list[Epoch] = []
    best, best_epoch, kept = math.inf, 0, _weights(model)
    for number in range(plan.epochs):
        started = time.perf_counter()
        trained, steering = run.train(train, number), run.loss(validation)
        if not math.isfinite(trained + steering):
            raise PathrayError(f"the loss is no number in epoch {number}: take a smaller --lr")
        history.append(
            Epoch(
                epoch=number,
                train_loss=trained,
                validation_loss=steering,
                seconds=round(time.perf_counter() - started, 3),
            )
        )
        told(history[-1])
        if steering < best:
            best, best_epoch, kept = steering, number, _weights(model)
        elif number - best_epoch >= plan.patience:
            break
    model.load_state_dict(kept)
    return Tuned(model.eval(), tuple(history), best_epoch)


def tile_probabilities(
    model: TileClassifier, uris: Sequence[str], batch: int
) -> NDArray[np.float64]:
    """(N, classes) of tiles, in order."""
    model.eval()
    rows = [np.arange(i, min(i + batch, len(uris))) for i in range(0, len(uris), batch)]
    with torch.inference_mode():
        told = [model(torch.from_numpy(tiles)).softmax(1).cpu() for tiles in _read(uris, rows)]
    return torch.cat(told).double().numpy()


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


class _Tuning:
    def __init__(self, model: TileClassifier, plan: TuningPlan, world: World, steps: int) -> None:
        from timm.optim import param_groups_layer_decay

        self._model, self._plan, self._world = model, plan, world
        self._parallel = parallelise(model, [], world, "ddp")
        groups = param_groups_layer_decay(
            model.network, plan.weight_decay, layer_decay=plan.layer_decay
        )
        groups.append({"params": list(model.head.parameters()), "lr_scale": 1.0})
        self._optimiser = torch.optim.AdamW(groups, plan.rate, weight_decay=plan.weight_decay)
        warmup = WARMUP_EPOCHS * steps // plan.epochs
        self._schedule, self._step = Schedule(plan.rate, 0.0, steps, warmup), 0

    def train(self, cohort: ClinicalCohort, epoch: int) -> float:
        """One epoch; its mean loss over all processes."""
        self._model.train()
        rng = np.random.default_rng([self._plan.seed, epoch])
        order = rng.permutation(len(cohort))
        batches = np.array_split(order, -(-len(order) // self._plan.batch))
        mine = [self._own(rows) for rows in batches]
        losses = []
        for rows, tiles in zip(mine, _read(cohort.slide_ids, mine), strict=True):
            turns, flip = int(rng.integers(4)), bool(rng.integers(2))
            losses.append(self._update(tiles, self._labels(cohort, rows), turns, flip))
        return self._world.mean([float(np.mean(losses))])[0]

    def _own(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """As many for each process: the last ones begin again at the first."""
        share = -(-len(rows) // self._world.size)
        places = np.arange(share) * self._world.size + self._world.rank
        return rows[places % len(rows)]

    def _update(self, tiles: Pixels, labels: Tensor, turns: int, flip: bool) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = self._schedule.rate(self._step) * group["lr_scale"]
        self._step += 1
        self._optimiser.zero_grad(set_to_none=True)
        device = self._world.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self._plan.bf16):
            logits = self._parallel(torch.from_numpy(tiles), turns, flip)
        loss = cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return float(loss.detach())

    def loss(self, cohort: ClinicalCohort) -> float:
        """The mean loss of all tiles, shared among the processes."""
        self._model.eval()
        mine = np.arange(self._world.rank, len(cohort), self._world.size)
        runs = np.array_split(mine, max(1, -(-len(mine) // self._plan.batch)))
        total = 0.0
        with torch.inference_mode():
            for rows, tiles in zip(runs, _read(cohort.slide_ids, runs), strict=True):
                logits = self._model(torch.from_numpy(tiles))
                labels = self._labels(cohort, rows)
                total += float(cross_entropy(logits, labels, reduction="sum"))
        return self._world.mean([total])[0] * self._world.size / len(cohort)

    def _labels(self, cohort: ClinicalCohort, rows: NDArray[np.int64]) -> Tensor:
        assert isinstance(cohort.target, Labels)
        return torch.from_numpy(cohort.target.values[rows]).to(self._world.device)


def _read(uris: Sequence[str], runs: Sequence[NDArray[np.int64]]) -> Iterator[Pixels]:
    """The tiles of each run of rows, uint8 (B, H, W, 3), read one run ahead."""
    with ThreadPoolExecutor(READERS) as pool:
        shapes: set[tuple[int, ...]] = set()
        ahead = [[pool.submit(read_tile, uris[row]) for row in rows] for rows in runs[:1]]
        for number in range(len(runs)):
            following = runs[number + 1 : number + 2]
            ahead += [[pool.submit(read_tile, uris[row]) for row in rows] for rows in following]
            tiles = [future.result() for future in ahead.pop(0)]
            shapes |= {tile.shape for tile in tiles}
            if len(shapes) > 1:
                raise RequestError("--tiles: tiles of different sizes: make them one size")
            yield np.stack(tiles) if tiles else np.empty((0, 1, 1, 3), np.uint8)
