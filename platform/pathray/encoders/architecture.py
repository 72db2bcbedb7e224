"""How an encoder's network is built: a timm or transformers model as data, or a callable.

What is data (model name and JSON keyword arguments) can be written to an encoder directory
and rebuilt by anybody; a callable belongs to encoders that are added from outside.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pathray.errors import RequestError, one_line

if TYPE_CHECKING:
    from torch import nn

# Layers that timm takes as classes; JSON names them.
_TIMM_LAYERS = ("SwiGLUPacked", "SwiGLU", "GluMlp", "Mlp")


@dataclass(frozen=True)
class TimmModel:
    """A timm model by name; `kwargs` are JSON values for `timm.create_model`."""

    model: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TransformersModel:
    """A transformers model class by name, with the keyword arguments of its configuration."""

    model: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ForeignCode:
    """A network that only its authors' code builds; `reason` says what is missing here."""

    reason: str


Architecture = TimmModel | TransformersModel | ForeignCode | Callable[[], "nn.Module"]


def build(architecture: Architecture, name: str, pretrained: bool = False) -> "nn.Module":
    """The network in evaluation mode, with fresh weights from torch's generator.

    `pretrained` asks timm for the weights it releases under the model's name. Raises
    RequestError when the network cannot be built here.
    """
    if isinstance(architecture, ForeignCode):
        raise RequestError(f"encoder {name!r} cannot be built here: {architecture.reason}")
    if isinstance(architecture, TimmModel):
        model = _build_timm(architecture, pretrained)
    elif isinstance(architecture, TransformersModel):
        model = _build_transformers(architecture)
    else:
        model = architecture()
    return model.eval().requires_grad_(False)


def _build_timm(architecture: TimmModel, pretrained: bool) -> "nn.Module":
    import timm
    import timm.layers

    kwargs = {"num_classes": 0, **architecture.kwargs}
    if kwargs.get("mlp_layer") in _TIMM_LAYERS:
        kwargs["mlp_layer"] = getattr(timm.layers, kwargs["mlp_layer"])
    if kwargs.pop("features_only", False):
        kwargs.pop("num_classes")
        kwargs["features_only"] = True
    model: nn.Module = timm.create_model(architecture.model, pretrained=pretrained, **kwargs)
    return model


def _build_transformers(architecture: TransformersModel) -> "nn.Module":
    try:
        import transformers
    except ImportError as error:
        raise RequestError(
            f"{architecture.model} needs the package `transformers`: pip install transformers "
            f"({one_line(error)})"
        ) from error
    model_class = getattr(transformers, architecture.model, None)
    if model_class is None:
        raise RequestError(f"transformers has no model class {architecture.model!r}")
    options = {"add_pooling_layer": False} if architecture.model == "ViTModel" else {}
    config = model_class.config_class(**architecture.kwargs)
    model: nn.Module = model_class(config, **options)
    return model
