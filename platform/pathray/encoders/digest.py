"""The digest that says two encoders give the same embeddings.

sha256 over the preprocessing and pooling as canonical JSON and, sorted by name, each tensor's
name, dtype, shape and sha256. Tensors are hashed as loaded, floating point in float32, before
any cast or move, so device and running precision do not enter.
"""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pathray.encoders.spec import EncoderSpec

if TYPE_CHECKING:
    import torch

_THREADS = 4


def digest_of(tensors: "Mapping[str, torch.Tensor]", spec: EncoderSpec) -> str:
    """Hex digest of the weights (a state dict on the CPU) under the spec's preprocessing."""
    names = sorted(tensors)
    # hashlib frees the interpreter lock on large buffers: a ViT-g hashes in seconds.
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = list(pool.map(lambda name: tensor_line(name, tensors[name]), names))
    whole = hashlib.sha256(json.dumps(_preprocessing(spec), sort_keys=True).encode())
    for line in hashes:
        whole.update(line)
    return whole.hexdigest()


def _preprocessing(spec: EncoderSpec) -> dict[str, object]:
    return {
        "input_size": spec.input_size,
        "resize_to": spec.resize_to,
        "mean": None if spec.mean is None else list(spec.mean),
        "std": None if spec.std is None else list(spec.std),
        "interpolation": spec.interpolation,
        "pooling": spec.pooling,
    }


def tensor_line(name: str, tensor: "torch.Tensor") -> bytes:
    """What enters a digest of one tensor on the CPU: name, type, shape and sha256."""
    if tensor.is_floating_point():
        tensor = tensor.float()
    data = tensor.detach().contiguous().numpy()
    shape = ",".join(str(side) for side in data.shape)
    return f"\n{name} {data.dtype.str} {shape} {hashlib.sha256(data.data).hexdigest()}".encode()
