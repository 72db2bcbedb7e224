"""Weights from files: read without running code, loaded strictly.

safetensors is read as such; a torch file is unpickled with `weights_only`, which runs no
code, and in full only where the user allows it.
"""

import io
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pathray import storage
from pathray.errors import RequestError, one_line

if TYPE_CHECKING:
    import torch
    from torch import nn

# Where training code puts the weights in what it saves.
_WRAPPERS = ("state_dict", "model", "teacher", "module")

# What may lie in a checkpoint beside the encoder: heads, and tokens of pretraining.
UNUSED_PREFIXES = (
    "head.", "fc_norm.", "fc.", "classifier.", "pooler.", "mask_token", "lm_head.",
    "cls_pt_layers.", "cls_pt_norm.", "cls_pt_lm_head.",
)  # fmt: skip


def read_tensors(uri: str, allow_pickle: bool = False) -> "dict[str, torch.Tensor]":
    """The tensors of a safetensors or torch file at any URI, by the names in the file.

    Raises RequestError when the file cannot be read, holds no tensors, or is a pickle that
    holds more than tensors and `allow_pickle` is not given.
    """
    import torch

    content = _read(uri, allow_pickle)
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise RequestError(f"{uri} holds no tensors (keys: {', '.join(map(str, content))[:80]})")
    return tensors


def _read(uri: str, allow_pickle: bool) -> Mapping[str, Any]:
    try:
        content = _parse(uri, allow_pickle)
    except RequestError:
        raise
    except FileNotFoundError as error:
        raise RequestError(f"{uri} does not exist") from error
    except pickle.UnpicklingError as error:
        raise RequestError(
            f"{uri} is a pickle that holds more than tensors, and reading it could run code; "
            f"if you trust where it comes from, say --allow-pickle"
        ) from error
    except Exception as error:
        raise RequestError(f"cannot read {uri} as weights: {one_line(error, 160)}") from error
    if not isinstance(content, Mapping):
        raise RequestError(f"{uri} holds a {type(content).__name__}, not a state dict")
    return content


def _parse(uri: str, allow_pickle: bool) -> Any:
    """A local file is read in place: a ViT-g is 4.5 GB, which need not be held twice."""
    import safetensors.torch
    import torch

    path = storage.local_path(uri) if storage.is_local(uri) else None
    if uri.endswith(".safetensors"):
        if path is not None:
            return safetensors.torch.load_file(path)
        return safetensors.torch.load(read_object(uri))
    source = path or io.BytesIO(read_object(uri))
    return torch.load(source, map_location="cpu", weights_only=not allow_pickle)


def read_object(uri: str) -> bytes:
    """A whole object; RequestError when it is not there or cannot be read."""
    try:
        return storage.read_bytes(uri)
    except Exception as error:
        raise RequestError(storage.reason(uri, error)) from error


def load_strictly(
    model: "nn.Module", tensors: "Mapping[str, torch.Tensor]", origin: str
) -> tuple[str, ...]:
    """Put tensors into the model; returns the names left unused (heads, mask tokens).

    Raises RequestError naming what is missing, unknown or of another shape.
    """
    wanted = model.state_dict()
    missing = sorted(set(wanted) - set(tensors))
    unused = sorted(set(tensors) - set(wanted))
    unknown = [name for name in unused if not name.startswith(UNUSED_PREFIXES)]
    misshapen = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in sorted(set(wanted) & set(tensors))
        if tensors[name].shape != wanted[name].shape
    ]
    problems = {"it lacks": missing, "it has unknown": unknown, "": misshapen}
    for problem, names in problems.items():
        if names:
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            text = f"{problem} {', '.join(names[:4])}{more}".strip()
            raise RequestError(f"{origin} does not fit the encoder: {text}")
    model.load_state_dict({name: tensors[name] for name in wanted}, strict=True)
    return tuple(unused)
