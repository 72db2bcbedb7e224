"""What a built network says about a batch, whichever library it came from."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pathray.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import nn


class Output:
    """One forward pass, run when the part that a pooling rule wants is asked for."""

    def __init__(self, model: "nn.Module", images: "torch.Tensor") -> None:
        self._model: Any = model
        self._images = images

    @cached_property
    def _transformers_output(self) -> Any:
        return self._model(pixel_values=self._images)

    @property
    def _is_transformers(self) -> bool:
        return hasattr(self._model, "config") and hasattr(self._model.config, "hidden_size")

    @cached_property
    def pooled(self) -> "torch.Tensor":
        """(B, D): the network's own feature."""
        if self._is_transformers:
            return self._transformers_output.pooler_output
        return self._model(self._images)

    @cached_property
    def tokens(self) -> "torch.Tensor":
        """(B, prefix + patches, D), after the final norm where the network has one."""
        if self._is_transformers:
            return self._transformers_output.last_hidden_state
        if not hasattr(self._model, "forward_features"):
            raise RequestError(f"{type(self._model).__name__} has no tokens")
        tokens = self._model.forward_features(self._images)
        if tokens.ndim != 3:
            raise RequestError(f"{type(self._model).__name__} has feature maps, not tokens")
        return tokens

    @cached_property
    def prefix(self) -> int:
        """How many tokens stand before the patches: the class token and registers."""
        if self._is_transformers:
            return 1 + int(getattr(self._model.config, "num_register_tokens", 0))
        return int(getattr(self._model, "num_prefix_tokens", 0))

    @cached_property
    def feature_map(self) -> "torch.Tensor":
        """(B, D, h, w): the last map of a `features_only` network, or `forward_features`."""
        if hasattr(self._model, "forward_features"):
            return self._model.forward_features(self._images)
        return self._model(self._images)[-1]
