"""Batches of bags: their tiles one behind the other, and where each bag begins."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pathray.mil.bags import Bags


@dataclass(frozen=True)
class Packed:
    """`features` (T, D) on the device; `offsets` (B + 1,) int64 on the CPU; `bags` (B,): which.

    Bag i of the batch is rows offsets[i] to offsets[i + 1]. The features lie in the packer's
    buffer: on a CPU they are valid until it packs again.
    """

    features: Tensor
    offsets: Tensor
    bags: tuple[int, ...]


class Packer:
    """Copies bags from the memory map into one reused buffer, in the type they are used in.

    `dtype`: float32, or bfloat16 for matrix products in it. `most_tiles` bounds the tiles of a
    bag: a larger one gives a random sample in its order, another at every `draw`.
    """

    def __init__(
        self,
        bags: Bags,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        most_tiles: int | None = None,
        seed: int = 0,
    ) -> None:
        self.bags, self.dtype, self.device = bags, dtype, torch.device(device)
        self.most_tiles, self.seed = most_tiles, seed
        self._accelerated = self.device.type == "cuda"
        self._buffer = torch.empty(0)
        self._sent: torch.cuda.Event | None = None

    def pack(self, chosen: Sequence[int], draw: int = 0) -> Packed:
        """The batch of these bags. Equal seeds and draws sample the same tiles of a bag."""
        picks = [self._rows(bag, draw) for bag in chosen]
        counts = [sum(_count(rows) for rows in runs) for runs in picks]
        offsets = torch.tensor([0, *np.cumsum(counts)], dtype=torch.int64)
        buffer = self._room(int(offsets[-1]))
        vectors, start = self.bags.store.vectors, 0
        for rows in (rows for runs in picks for rows in runs):
            count = _count(rows)
            buffer[start : start + count] = torch.from_numpy(vectors[rows])
            start += count
        return Packed(self._sent_off(buffer), offsets, tuple(chosen))

    def batches(self, order: Iterable[Sequence[int]], draw: int = 0) -> Iterator[Packed]:
        """One batch after another."""
        for chosen in order:
            yield self.pack(chosen, draw)

    def _rows(self, bag: int, draw: int) -> "Sequence[slice | np.ndarray]":
        size = int(self.bags.sizes[bag])
        if self.most_tiles is None or size <= self.most_tiles:
            return self.bags.runs(bag)
        generator = np.random.default_rng((self.seed, draw, bag))
        sample = generator.choice(size, self.most_tiles, replace=False, shuffle=False)
        return [self.bags.rows(bag)[np.sort(sample)]]

    def _room(self, tiles: int) -> Tensor:
        """The buffer's first rows. A GPU's is pinned and float16: half as much to send."""
        if self._sent is not None:
            self._sent.synchronize()
        if len(self._buffer) < tiles:
            self._buffer = torch.empty(0)  # before the larger one is made
            dtype = torch.float16 if self._accelerated else self.dtype
            shape = (tiles, self.bags.store.made.dim)
            with torch.inference_mode(False):  # else a validation's buffer could not train
                self._buffer = torch.empty(shape, dtype=dtype, pin_memory=self._accelerated)
        return self._buffer[:tiles]

    def _sent_off(self, buffer: Tensor) -> Tensor:
        if not self._accelerated:
            return buffer
        features = buffer.to(self.device, non_blocking=True).to(self.dtype)
        self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._sent.record()
        return features


def _count(rows: "slice | np.ndarray") -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


def split_by_tiles(chosen: Sequence[int], sizes: Sequence[int], most_tiles: int) -> list[list[int]]:
    """A step's bags in runs of at most `most_tiles` tiles each (or one larger bag), so that
    the gradients of a large step can be added up over passes that fit into memory."""
    passes: list[list[int]] = []
    held = 0
    for bag in chosen:
        size = int(sizes[bag])
        if not passes or held + size > most_tiles:
            passes.append([])
            held = 0
        passes[-1].append(bag)
        held += size
    return passes
