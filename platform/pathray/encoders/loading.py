"""A name becomes an encoder that runs: network, weights, precision, device."""

from typing import TYPE_CHECKING, Any

from pathray.encoders.architecture import ForeignCode, build
from pathray.encoders.digest import digest_of
from pathray.encoders.directory import WEIGHTS, is_encoder_directory, read_description
from pathray.encoders.names import resolve
from pathray.encoders.spec import Encoder, EncoderSpec, TimmWeights, registry
from pathray.errors import RequestError

if TYPE_CHECKING:
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

    `weights` is the URI of a safetensors or torch file in the network's own names;
    `random_init` draws the weights from `seed` and leaves torch's generators as they were.
    `precision` is auto, fp32, bf16 or fp16; `device` a torch device (default: the GPU if there
    is one). Raises RequestError when the weights cannot be had: nothing is ever replaced by
    random weights unasked.
    """
    spec = resolve(name)
    if spec.light:
        return _load_light(spec, weights, random_init)
    if weights is not None and random_init:
        raise RequestError("--weights and --random-init exclude each other")
    import torch

    from pathray.encoders.precision import resolve_precision
    from pathray.encoders.torch_encoder import TorchEncoder

    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    resolved = resolve_precision(precision, target)
    model = _load_model(name, spec, weights, seed if random_init else None, allow_pickle)
    digest = digest_of(model.state_dict(), spec)
    return TorchEncoder(spec, model, digest, resolved, target)


def _load_light(spec: EncoderSpec, weights: str | None, random_init: bool) -> Encoder:
    if weights is not None or random_init:
        raise RequestError(f"encoder {spec.name!r} has no weights: drop --weights, --random-init")
    builder: Any = spec.builder
    encoder: Encoder = builder(spec)
    return encoder


def _load_model(
    name: str, spec: EncoderSpec, weights: str | None, seed: int | None, allow_pickle: bool
) -> "nn.Module":
    from pathray.encoders import weights as files

    if seed is not None:
        return random_model(spec, seed)
    if weights is None and name not in registry and is_encoder_directory(name):
        return _load_directory(name, spec)
    if weights is not None:
        model = _empty_model(spec)
        tensors = files.state_dict(files.read_checkpoint(weights, allow_pickle), weights)
        files.load_strictly(model, tensors, weights)
        return model
    return _load_released(spec, allow_pickle)


def random_model(spec: EncoderSpec, seed: int) -> "nn.Module":
    """The network with weights drawn from `seed`; torch's global generator is left alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _without_head(_build(spec), spec)


def _empty_model(spec: EncoderSpec) -> "nn.Module":
    """A network whose weights are about to be replaced."""
    return random_model(spec, 0)


def _load_directory(uri: str, spec: EncoderSpec) -> "nn.Module":
    from pathray.encoders import weights as files

    where = f"{uri.rstrip('/')}/{WEIGHTS}"
    model = _empty_model(spec)
    files.load_strictly(model, files.read_checkpoint(where), where)
    recorded = read_description(uri)[1]
    if digest_of(model.state_dict(), spec) != recorded:
        raise RequestError(
            f"{uri}: the digest in encoder.json is not that of its weights and preprocessing; "
            f"the directory was changed after it was written, or a copy is incomplete"
        )
    return model


def _load_released(spec: EncoderSpec, allow_pickle: bool) -> "nn.Module":
    from pathray.encoders import weights as files

    if isinstance(spec.builder, ForeignCode):
        return _build(spec)
    if spec.weights is None:
        raise RequestError(
            f"encoder {spec.name!r} has no weights that can be fetched from {spec.source}; "
            f"give them with --weights URI, or random ones with --random-init"
        )
    try:
        if isinstance(spec.weights, TimmWeights):
            return _without_head(_build(spec, pretrained=True), spec)
        path = files.download(spec.weights)
    except RequestError:
        raise
    except Exception as error:
        raise files.unavailable(spec, error) from error
    model = _empty_model(spec)
    tensors = files.state_dict(files.read_checkpoint(path, allow_pickle), path)
    files.load_strictly(model, tensors, path)
    return model


def _build(spec: EncoderSpec, pretrained: bool = False) -> "nn.Module":
    architecture: Any = spec.builder
    return build(architecture, spec.name, pretrained)


def _without_head(model: "nn.Module", spec: EncoderSpec) -> "nn.Module":
    """Drop what a pooling rule over tokens never runs, so that it is no part of the weights."""
    from torch import nn

    if spec.pooling != "model" and hasattr(model, "fc_norm"):
        model.fc_norm = nn.Identity()
    return model
