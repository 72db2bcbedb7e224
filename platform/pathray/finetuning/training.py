"""Training one model: steps over packed bags, steered by the validation loss."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pathray.errors import PathrayError
from pathray.finetuning.parts import Part
from pathray.finetuning.recipe import PASS_TILES, Recipe
from pathray.finetuning.result import Epoch
from pathray.finetuning.sampling import Rows, epoch_batches
from pathray.finetuning.task import Task
from pathray.mil.aggregator import Aggregated, Aggregator
from pathray.mil.aggregators import build_aggregator
from pathray.mil.bags import Bags
from pathray.mil.batches import Packed, Packer, split_by_tiles

Told = Callable[[Epoch], None]


@dataclass(frozen=True)
class Fitted:
    """A model with the weights of its best epoch, in eval mode, and how it came to them."""

    model: Aggregator
    history: tuple[Epoch, ...]
    best_epoch: int


def fit(
    bags: Bags,
    train: Part,
    validation: Part,
    task: Task,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    told: Told = lambda _: None,
) -> Fitted:
    """Train until the validation loss has not fallen for `recipe.patience` epochs.

    The loss of validation is that of training: the mean over its bags, for Cox the partial
    likelihood of all its patients at once. Equal seeds, threads and hardware give equal
    weights. PathrayError when the loss stops being a number.
    """
    settings = recipe.aggregator_settings(bags.store.made.dim, task.outputs)
    model = build_aggregator(settings, seed).to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        trainer = _Trainer(bags, task, recipe, seed, model, device)
        return _until_worse(trainer, train, validation, recipe, told)


def _until_worse(
    trainer: "_Trainer", train: Part, validation: Part, recipe: Recipe, told: Told
) -> Fitted:
    history: list[Epoch] = []
    best, kept = math.inf, trainer.weights()
    best_epoch = 0
    for number in range(recipe.epochs):
        started = time.perf_counter()
        trained, steering = trainer.train(train, number), trainer.loss(validation)
        seconds = time.perf_counter() - started
        epoch = Epoch(
            epoch=number, train_loss=trained, validation_loss=steering, seconds=round(seconds, 4)
        )
        if not math.isfinite(trained + steering):
            raise PathrayError(f"the loss is no number in epoch {number}: take a smaller --lr")
        history.append(epoch)
        told(epoch)
        if steering < best:
            best, best_epoch, kept = steering, number, trainer.weights()
        elif number - best_epoch >= recipe.patience:
            break
    trainer.model.load_state_dict(kept)
    return Fitted(trainer.model.eval(), tuple(history), best_epoch)


class _Trainer:
    def __init__(
        self,
        bags: Bags,
        task: Task,
        recipe: Recipe,
        seed: int,
        model: Aggregator,
        device: torch.device,
    ) -> None:
        self.model, self._task, self._recipe, self._device = model, task, recipe, device
        self._bags, self._seed, self._dtype = bags, seed, dtype_of(recipe)
        sampled = recipe.tiles_in_training()
        self._sampled = Packer(bags, self._dtype, device, sampled, seed)
        self._whole = Packer(bags, self._dtype, device)
        self._sizes = np.minimum(bags.sizes, sampled or np.iinfo(np.int64).max)
        self._optimiser = torch.optim.Adam(
            model.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay
        )

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights of now."""
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def train(self, part: Part, epoch: int) -> float:
        """One epoch; its mean loss."""
        self.model.train()
        rng = np.random.default_rng([self._seed, epoch])
        batches = epoch_batches(part.target, self._recipe.batch_bags, self._recipe.balance, rng)
        losses = [self._step(part, rows, epoch) * len(rows) for rows in batches]
        return sum(losses) / sum(map(len, batches))

    def _step(self, part: Part, rows: Rows, epoch: int) -> float:
        self._optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for some in self._passes(part, rows):
            packed = self._sampled.pack(part.bags[some].tolist(), draw=epoch)
            target = part.target.take(some)
            found = self.model(packed.features, packed.offsets)
            criterion = self._task.criterion(target, self._device)
            loss = self.model.loss(found, criterion, self._task.labels(target, self._device))
            (loss * (len(some) / len(rows))).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) * len(some) / len(rows)
        self._optimiser.step()
        return total

    def _passes(self, part: Part, rows: Rows) -> list[Rows]:
        """The rows of a step in runs that fit into memory; a Cox batch stays whole."""
        if self._recipe.loss == "cox":
            return [rows]
        sizes = self._sizes[part.bags[rows]].tolist()
        return [rows[run] for run in split_by_tiles(range(len(rows)), sizes, PASS_TILES)]

    def loss(self, part: Part) -> float:
        """The loss of all bags of a part, whole."""
        self.model.eval()
        found = run_over(self.model, self._whole, part.bags)
        logits = torch.cat([each.logits for _, each in found])
        return float(self._task.criterion(part.target, self._device)(logits))


def dtype_of(recipe: Recipe) -> torch.dtype:
    """What features are packed in."""
    return torch.bfloat16 if recipe.precision == "bf16" else torch.float32


def run_over(
    model: Aggregator, packer: Packer, chosen: Rows
) -> Iterator[tuple[Packed, Aggregated]]:
    """Bags through a model in eval mode, in order, as many at once as fit into memory."""
    sizes = packer.bags.sizes[chosen].tolist()
    with torch.inference_mode():
        for run in split_by_tiles(range(len(chosen)), sizes, PASS_TILES):
            packed = packer.pack(chosen[run].tolist())
            yield packed, model(packed.features, packed.offsets)
