"""Checkpoints of a training run at any URI: complete or absent, the newest kept.

<uri>/<step>/model.safetensors       weights and buffers by name
<uri>/<step>/optimiser.safetensors   `<parameter>/<what>` by name
<uri>/<step>/state.json              step and settings
<uri>/<step>/manifest.json           size and sha256 of the others; put last: it is the commit
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from pathray import storage
from pathray.errors import PathrayError, RequestError, one_line

FORMAT = 1
MODEL, OPTIMISER, STATE, MANIFEST = (
    "model.safetensors",
    "optimiser.safetensors",
    "state.json",
    "manifest.json",
)
WAITS = (1.0, 4.0, 16.0)
"""Seconds before a store that refused is asked again."""

T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `step` steps: all tensors on the CPU.

    `state` is JSON: the settings of the run. The schedule and all random numbers are
    functions of seed and step, so that `step` is their state.
    """

    step: int
    model: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    state: Mapping[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints below a URI, of which the newest `keep` stay."""

    def __init__(self, uri: str, keep: int = 3) -> None:
        if keep < 1:
            raise ValueError("at least one checkpoint must be kept")
        self.uri, self.keep = uri, keep

    def save(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint, then drop those that are too old.

        PathrayError when the store refuses again and again; the older checkpoints are then
        still there.
        """
        what = f"the checkpoint of step {checkpoint.step}"
        store(what, self.uri, lambda: self._put(checkpoint))
        self._prune()

    def steps(self) -> list[int]:
        """The steps that are committed, oldest first."""
        return sorted(step for step, names in self._listed().items() if MANIFEST in names)

    def newest(self, told: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None.

        One that is committed and yet damaged is passed over, and `told` which and why.
        RequestError when the store cannot be read.
        """
        try:
            for step in reversed(retried(self.steps)):
                try:
                    return retried(lambda step=step: self.read(step))  # type: ignore[misc]
                except DamagedError as error:
                    told(f"the checkpoint of step {step} is passed over: {error}")
        except PathrayError:
            raise
        except Exception as error:
            raise RequestError(f"--out: {storage.reason(self.uri, error)}") from error
        return None

    def _put(self, checkpoint: Checkpoint) -> None:
        folder = self._folder(checkpoint.step)
        state = {"format": FORMAT, "step": checkpoint.step, **checkpoint.state}
        # The state of an earlier try at this step must not look committed meanwhile.
        storage.delete([storage.join(folder, MANIFEST)])
        sums = {}
        for name, data in (
            (MODEL, lambda: safetensors.torch.save(_own(checkpoint.model))),
            (OPTIMISER, lambda: safetensors.torch.save(_own(checkpoint.optimiser))),
            (STATE, lambda: _json(state)),
        ):
            content = data()
            storage.put_bytes(storage.join(folder, name), content)
            sums[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        storage.put_bytes(storage.join(folder, MANIFEST), _json({"format": FORMAT, "parts": sums}))

    def read(self, step: int) -> Checkpoint:
        """The checkpoint of a step; DamagedError when it is not whole."""
        folder = self._folder(step)
        try:
            parts = json.loads(_read_part(folder, MANIFEST))["parts"]
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{MANIFEST} is damaged ({one_line(error, 80)})") from error
        contents = {name: _read_part(folder, name) for name in (MODEL, OPTIMISER, STATE)}
        for name, content in contents.items():
            if hashlib.sha256(content).hexdigest() != parts[name]["sha256"]:
                raise DamagedError(f"{name} is not what was written")
        return Checkpoint(
            step,
            safetensors.torch.load(contents[MODEL]),
            safetensors.torch.load(contents[OPTIMISER]),
            json.loads(contents[STATE]),
        )

    def _prune(self) -> None:
        """Drop checkpoints beyond the newest `keep`, and what older tries left unfinished.

        A store that will not delete costs room and no training.
        """
        try:
            kept = self.steps()[-self.keep :]
            for step, names in self._listed().items():
                if step < kept[-1] and step not in kept:
                    folder = self._folder(step)
                    # The manifest first: what is half removed is not committed.
                    storage.delete([storage.join(folder, MANIFEST)])
                    storage.delete(storage.join(folder, name) for name in names - {MANIFEST})
        except Exception:
            return

    def _listed(self) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        for entry in storage.list_objects(self.uri):
            step = storage.parent(entry.uri).rsplit("/", 1)[-1]
            if step.isdecimal():
                found.setdefault(int(step), set()).add(entry.name)
        return found

    def _folder(self, step: int) -> str:
        return storage.join(self.uri, f"{step:08d}")


class DamagedError(PathrayError):
    """A committed checkpoint whose parts are not what its manifest says."""


def store(what: str, uri: str, put: Callable[[], None]) -> None:
    """Put something, again and again when its store fails; PathrayError when it stays so."""
    try:
        retried(put)
    except Exception as error:  # each store has its own exceptions for refusals
        raise PathrayError(f"{what} could not be stored: {storage.reason(uri, error)}") from error


def retried(act: Callable[[], T]) -> T:
    """The result of `act`, tried again after each of `WAITS` when a store fails."""
    for wait in WAITS:
        try:
            return act()
        except PathrayError:
            raise
        except Exception:  # each store has its own exceptions for refusals
            time.sleep(wait)
    return act()


def _read_part(folder: str, name: str) -> bytes:
    try:
        return storage.read_bytes(storage.join(folder, name))
    except FileNotFoundError as error:
        raise DamagedError(f"{name} is missing") from error


def _own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no memory, which safetensors asks for."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        shared = tensor.data_ptr() in seen and tensor.numel() > 0
        layout = torch.contiguous_format
        own[name] = tensor.clone(memory_format=layout) if shared else tensor.contiguous()
        seen.add(tensor.data_ptr())
    return own


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
