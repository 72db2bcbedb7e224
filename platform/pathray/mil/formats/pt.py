"""`.pt` of CLAM: one tensor (N, D) or (1, N, D), without coordinates."""

import io
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pathray import storage
from pathray.mil.formats.bag import CHUNK, Made, OpenBag, Rows


@contextmanager
def open_pt(uri: str) -> Iterator[OpenBag]:
    """The bag in a torch file, read without running code; a local one is mapped, not loaded.

    Raises ValueError when it holds anything but one tensor of tiles.
    """
    tensor = _load(uri)
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"it holds a {type(tensor).__name__}, not a tensor")
    if tensor.ndim == 3 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.numel() == 0:
        yield OpenBag(0, None, False, iter(()))
    elif tensor.ndim != 2:
        raise ValueError(f"its tensor is {tuple(tensor.shape)}, not (tiles, width)")
    else:
        yield OpenBag(len(tensor), Made(tensor.shape[1]), False, _chunks(tensor))


def _load(uri: str) -> Any:
    try:
        if not storage.is_local(uri):
            return torch.load(io.BytesIO(storage.read_bytes(uri)), "cpu", weights_only=True)
        path = storage.local_path(uri)
        mapped = zipfile.is_zipfile(path)  # what torch wrote before 1.6 cannot be mapped
        return torch.load(path, "cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ValueError("it holds more than a tensor, and reading it could run code") from error


def _chunks(tensor: torch.Tensor) -> Iterator[Rows]:
    for start in range(0, len(tensor), CHUNK):
        chunk = tensor[start : start + CHUNK]
        narrow = chunk if chunk.dtype in (torch.float16, torch.float64) else chunk.float()
        yield Rows(narrow.numpy(), None)
