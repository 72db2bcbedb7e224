"""A name becomes an encoder that runs: network, weights, precision, device."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pathray.encoders.architecture import ForeignCode, TimmModel, build, uninitialised
from pathray.encoders.digest import digest_of
from pathray.encoders.directory import WEIGHTS
from pathray.encoders.names import find
from pathray.encoders.spec import Encoder, EncoderSpec, HubWeights, TimmWeights
from pathray.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import nn


def load_encoder(
    name: str,
    *,
    weights: str | None = None,
    random_init: bool = False,
    seed: int = 0,
    precision: str = "auto",
    device: str | None = None,
    allow_pickle: bool = False,
) -> Encoder:
    """An encoder by name (see `resolve`), with its released weights or the ones asked for.

    `weights` is the URI of a safetensors or torch file in any known naming (`naming/`);
    `random_init` draws the weights from `seed` and leaves torch's generators as they were.
    `precision` is auto, fp32, bf16 or fp16; `device` a torch device (default: the GPU if there
    is one). Raises RequestError when the weights cannot be had: nothing is ever replaced by
    random weights unasked.
    """
    found = find(name)
    spec = found.spec
    if isinstance(spec.builder, ForeignCode):
        raise RequestError(f"encoder {spec.name!r} cannot be built here: {spec.builder.reason}")
    if spec.light:
        return _load_light(spec, weights, random_init)
    if weights is not None and random_init:
        raise RequestError("--weights and --random-init exclude each other")
    import torch

    from pathray.encoders.precision import resolve_precision
    from pathray.encoders.torch_encoder import TorchEncoder

    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    resolved = resolve_precision(precision, target)
    if random_init:
        model = random_model(spec, seed)
    elif weights is not None:
        model = _from_file(spec, weights, allow_pickle)
    elif found.directory is not None:
        model = _from_file(spec, f"{found.directory}/{WEIGHTS}", allow_pickle=False)
    else:
        model = _released(spec, allow_pickle)
    digest = digest_of(model.state_dict(), spec)
    if found.directory and not random_init and weights is None and digest != found.digest:
        raise RequestError(
            f"{name}: the digest in encoder.json is not that of its weights and preprocessing; "
            f"the directory was changed after it was written, or the copy is not whole"
        )
    return TorchEncoder(spec, model, digest, resolved, target)


def _load_light(spec: EncoderSpec, weights: str | None, random_init: bool) -> Encoder:
    if weights is not None or random_init:
        raise RequestError(f"encoder {spec.name!r} has no weights: drop --weights, --random-init")
    builder: Any = spec.builder
    encoder: Encoder = builder(spec)
    return encoder


def random_model(spec: EncoderSpec, seed: int) -> "nn.Module":
    """The network with weights drawn from `seed`; torch's global generator is left alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(spec)


def model_with(
    spec: EncoderSpec, tensors: "Mapping[str, torch.Tensor]", origin: str
) -> "tuple[nn.Module, tuple[str, ...]]":
    """The network with these weights, strictly, and the names that it left unused.

    `tensors` are in any known naming; `origin` is what an error calls them.
    """
    from pathray.encoders.checkpoint import load_strictly
    from pathray.encoders.naming import to_timm

    with uninitialised():
        model = _build(spec)
    fitting = to_timm(tensors) if isinstance(spec.builder, TimmModel) else tensors
    return model, load_strictly(model, fitting, origin)


def _from_file(spec: EncoderSpec, uri: str, allow_pickle: bool) -> "nn.Module":
    from pathray.encoders.checkpoint import read_tensors

    return model_with(spec, read_tensors(uri, allow_pickle), uri)[0]


def _released(spec: EncoderSpec, allow_pickle: bool) -> "nn.Module":
    if not isinstance(spec.builder, TimmModel):
        return _build(spec)  # a callable brings its own weights
    from pathray.encoders import hub
    from pathray.encoders.checkpoint import read_tensors

    origin = spec.builder.model
    try:
        if isinstance(spec.weights, HubWeights):
            origin = hub.download(spec.weights.repository, spec.weights.files)
            tensors = read_tensors(origin, allow_pickle)
        elif isinstance(spec.weights, TimmWeights):
            tensors = hub.timm_release(spec, origin)
        else:
            raise hub.not_on_a_hub(spec)
    except RequestError:
        raise
    except Exception as error:
        raise hub.unavailable(spec, error) from error
    return model_with(spec, tensors, origin)[0]


def _build(spec: EncoderSpec) -> "nn.Module":
    from pathray.encoders.pooling import trim

    architecture: Any = spec.builder
    return trim(build(architecture, spec.name), spec.pooling)
