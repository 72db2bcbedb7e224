"""How an encoder's network is built: a timm model as data, or a callable.

What is data (a timm name and JSON keyword arguments) can be written to an encoder directory
and rebuilt by anybody; a callable belongs to encoders that are added from outside. One
library builds every vision transformer of the registry, so that tensor names, dense output
and precision policy are the same for all; checkpoints in other namings are translated
(`naming/`).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pathray.errors import RequestError, one_line

if TYPE_CHECKING:
    from torch import nn

# Layers that timm takes as classes; JSON names them.
_MLP_LAYERS = ("SwiGLUPacked", "SwiGLU", "GluMlp", "Mlp")


@dataclass(frozen=True)
class TimmModel:
    """A timm model by name; `kwargs` are JSON values for `timm.create_model`.

    Two are ours: `mlp_layer` is the name of a class of `timm.layers`, and `norm_eps` is the
    epsilon of every LayerNorm where it is not timm's.
    """

    model: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ForeignCode:
    """A network that only its authors' code builds; `reason` says what is missing here."""

    reason: str


Architecture = TimmModel | Callable[[], "nn.Module"]


def build(architecture: Architecture, name: str) -> "nn.Module":
    """The network of encoder `name` in evaluation mode, weights from torch's generator.

    Raises RequestError when timm cannot build it.
    """
    if isinstance(architecture, TimmModel):
        model = _build_timm(architecture, name)
    else:
        model = architecture()
    return model.eval().requires_grad_(False)


def _build_timm(architecture: TimmModel, name: str) -> "nn.Module":
    import timm
    import timm.layers
    from torch import nn

    kwargs = {"num_classes": 0, **architecture.kwargs}
    if "mlp_layer" in kwargs:
        if kwargs["mlp_layer"] not in _MLP_LAYERS:
            known = ", ".join(_MLP_LAYERS)
            raise RequestError(f"unknown mlp_layer {kwargs['mlp_layer']!r}; known: {known}")
        kwargs["mlp_layer"] = getattr(timm.layers, kwargs["mlp_layer"])
    if "norm_eps" in kwargs:
        kwargs["norm_layer"] = partial(nn.LayerNorm, eps=kwargs.pop("norm_eps"))
    try:
        model: nn.Module = timm.create_model(architecture.model, pretrained=False, **kwargs)
    except Exception as error:
        raise RequestError(f"timm cannot build encoder {name!r}: {one_line(error, 200)}") from error
    return model


@contextmanager
def uninitialised() -> Iterator[None]:
    """Networks built inside keep whatever memory held, for weights that are loaded next.

    Drawing a billion random numbers that are then overwritten takes half a minute.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    drawing = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_}

    class SkipDraws(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            return args[0] if func in drawing else func(*args, **(kwargs or {}))

    with SkipDraws():
        yield
