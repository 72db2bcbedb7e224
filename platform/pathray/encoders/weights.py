"""Weights from where they lie: a file behind a URI, the Hugging Face hub, a seed.

safetensors is read as such; a torch file is unpickled with `weights_only`, which runs no
code, and in full only where the user allows it.
"""

import io
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pathray.encoders.spec import EncoderSpec, HubWeights
from pathray.errors import RequestError, one_line

if TYPE_CHECKING:
    import torch
    from torch import nn

# What sits behind the tokens is not part of an encoder: files may carry it, and it is unused.
HEAD_PREFIXES = ("head.", "fc_norm.", "fc.", "classifier.", "pooler.")


def read_checkpoint(uri: str, allow_pickle: bool = False) -> dict[str, Any]:
    """The content of a safetensors or torch file as it was saved.

    Raises RequestError when the file cannot be read, or is a pickle that holds more than
    tensors and `allow_pickle` is not given.
    """
    import safetensors.torch
    import torch

    data = _read(uri)
    if uri.endswith(".safetensors"):
        return dict(safetensors.torch.load(data))
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        raise RequestError(
            f"{uri} is a pickle that holds more than tensors, and reading it could run code; "
            f"if you trust where it comes from, say --allow-pickle"
        ) from error
    except Exception as error:
        raise RequestError(f"cannot read {uri} as weights: {one_line(error, 160)}") from error
    if not isinstance(content, dict):
        raise RequestError(f"{uri} holds a {type(content).__name__}, not a state dict")
    return content


def _read(uri: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(uri, "rb") as file:
            return bytes(file.read())
    except Exception as error:
        raise RequestError(f"cannot read {uri}: {one_line(error, 160)}") from error


def state_dict(content: Mapping[str, Any], uri: str) -> "dict[str, torch.Tensor]":
    """The tensors of a checkpoint: itself, or below the usual key of a training checkpoint."""
    import torch

    for key in ("state_dict", "model", "teacher", "module"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise RequestError(f"{uri} holds no tensors (keys: {', '.join(list(content)[:5])})")
    return tensors


def load_strictly(
    model: "nn.Module", tensors: "Mapping[str, torch.Tensor]", origin: str
) -> tuple[str, ...]:
    """Put tensors into the model; returns the names of unused head weights.

    Raises RequestError when a tensor is missing, left over or of another shape.
    """
    wanted = model.state_dict()
    missing = sorted(set(wanted) - set(tensors))
    extra = sorted(set(tensors) - set(wanted))
    left_over = [name for name in extra if not name.startswith(HEAD_PREFIXES)]
    shapes = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in sorted(set(wanted) & set(tensors))
        if tensors[name].shape != wanted[name].shape
    ]
    for problem, names in (("lacks", missing), ("has unknown", left_over), ("mismatch:", shapes)):
        if names:
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
            raise RequestError(f"{origin} does not fit the encoder: {problem} {shown}")
    model.load_state_dict({name: tensors[name] for name in wanted}, strict=True)
    return tuple(extra)


def download(hub: HubWeights) -> str:
    """Path of the repository's weights file in the local hub cache, fetched when not there."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    last: Exception | None = None
    for file in hub.files:
        try:
            return huggingface_hub.hf_hub_download(hub.repository, file)
        except EntryNotFoundError as error:
            last = error
    raise last or ValueError("no file named")


def unavailable(spec: EncoderSpec, error: BaseException) -> RequestError:
    """The three lines a person needs when released weights cannot be had."""
    where = f"{spec.source}" if spec.source else spec.name
    page = ""
    if isinstance(spec.weights, HubWeights):
        page = f" at https://huggingface.co/{spec.weights.repository}"
    access = f"accept its licence{page} and set HF_TOKEN" if spec.gated else "check the network"
    return RequestError(
        f"cannot get the weights of encoder {spec.name!r} from {where}: {one_line(error, 120)}\n"
        f"licence: {spec.licence or 'unknown'}; {access}\n"
        f"or give the weights with --weights URI, or random ones with --random-init"
    )
