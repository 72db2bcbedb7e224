"""What a built network says about a batch, as the pooling rules ask for it."""

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
    def pooled(self) -> "torch.Tensor":
        """(B, D): the network's own feature."""
        feature: torch.Tensor = self._model(self._images)
        return feature

    @cached_property
    def tokens(self) -> "torch.Tensor":
        """(B, prefix + patches, D), after the final norm where the network has one.

        Raises RequestError when the network has none.
        """
        if not hasattr(self._model, "forward_features"):
            raise RequestError(f"a {type(self._model).__name__} has no patch tokens")
        tokens: torch.Tensor = self._model.forward_features(self._images)
        if tokens.ndim != 3:
            raise RequestError(f"a {type(self._model).__name__} has no patch tokens")
        return tokens

    @cached_property
    def prefix(self) -> int:
        """How many tokens stand before the patches: the class token and registers."""
        return int(getattr(self._model, "num_prefix_tokens", 0))

    def stage(self, index: int) -> "torch.Tensor":
        """(B, D, h, w): the feature map behind a stage of a convolutional network."""
        maps: list[torch.Tensor] = self._model.forward_intermediates(
            self._images, indices=[index], norm=False, stop_early=True, intermediates_only=True
        )
        return maps[-1]
