"""The network of BEiT v2's masked image modelling (Peng et al. 2022, arXiv 2208.06366)."""

from typing import Any

import torch
from timm.models.beit import Block
from torch import Tensor, nn
from torch.nn import functional

from pathray.encoders.architecture import uninitialised
from pathray.pretraining.vit import (
    Shape,
    build_vit,
    initialise,
    rescale_residuals,
    truncated_normal,
)


class MaskedImageModel(nn.Module):
    """Predicts the visual code of each hidden patch, twice.

    First from the last layer's patch tokens. Then from the patch aggregation: the last
    layer's class token beside the patch tokens of layer `early_layer`, behind `head_layers`
    more blocks, so that the class token must carry what the early tokens lack. Both share
    one relative position bias, the final norm and the head. Parameters have the names of the
    reference implementation (microsoft/unilm, beit2).
    """

    def __init__(
        self,
        shape: Shape,
        *,
        vocabulary: int,
        early_layer: int,
        head_layers: int,
        layer_scale: float | None,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.shape, self.early_layer = shape, early_layer
        common = {"qkv_bias": qkv_bias, "init_values": layer_scale}
        with uninitialised():  # `initialise` follows
            vit = build_vit(
                shape,
                **common,
                use_abs_pos_emb=False,
                use_shared_rel_pos_bias=True,
                use_fc_norm=False,
                drop_path_rate=drop_path,
            )
        self.patch_embed: nn.Module = vit.patch_embed
        self.cls_token: nn.Parameter = vit.cls_token
        self.mask_token = nn.Parameter(torch.empty(1, 1, shape.width))
        self.rel_pos_bias: nn.Module = vit.rel_pos_bias
        self.blocks: nn.ModuleList = vit.blocks
        self.norm: nn.Module = vit.norm
        layers = max(shape.depth, early_layer + head_layers)
        rates = [drop_path * layer / max(layers - 1, 1) for layer in range(layers)]
        self.cls_pt_layers = nn.ModuleList(
            Block(shape.width, shape.heads, mlp_ratio=shape.mlp_ratio, drop_path=rate, **common)
            for rate in rates[early_layer : early_layer + head_layers]
        )
        self.lm_head = nn.Linear(shape.width, vocabulary)
        self.apply(initialise)
        for token in (self.cls_token, self.mask_token):
            truncated_normal(token)
        rescale_residuals(self.blocks, first_layer=1)
        rescale_residuals(self.cls_pt_layers, first_layer=early_layer + 1)

    def forward(self, images: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (M, vocabulary) of the M hidden patches, in order of image and patch: those
        of the last layer and those of the aggregation.

        `images` is normalised, (B, 3, S, S); `hidden` is bool, (B, patches).
        """
        last, early, bias = self._encode(images, hidden)
        aggregated = torch.cat((last[:, :1], early[:, 1:]), dim=1)
        for block in self.cls_pt_layers:
            aggregated = block(aggregated, shared_rel_pos_bias=bias)
        return self._predict(last, hidden), self._predict(aggregated, hidden)

    def _encode(self, images: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        tokens = self.patch_embed(images)
        if hidden is not None:
            tokens = torch.where(hidden[..., None], self.mask_token.to(tokens.dtype), tokens)
        tokens = torch.cat((self.cls_token.expand(len(tokens), -1, -1), tokens), dim=1)
        bias, early = self.rel_pos_bias(), tokens
        for layer, block in enumerate(self.blocks, 1):
            tokens = block(tokens, shared_rel_pos_bias=bias)
            early = tokens if layer == self.early_layer else early
        return tokens, early, bias

    def _predict(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """The head runs on the hidden patches alone; it is the widest layer."""
        logits: Tensor = self.lm_head(self.norm(tokens[:, 1:][hidden]))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """The tile's embedding as BEPH takes it, float32 (B, width): the mean of the last
        layer's patch tokens, no norm before it, then LayerNorm without learned scale.
        """
        mean = self._encode(images, None)[0][:, 1:].mean(dim=1).float()
        return functional.layer_norm(mean, mean.shape[-1:], eps=1e-6)


def masked_loss(predictions: tuple[Tensor, Tensor], codes: Tensor) -> dict[str, Tensor]:
    """The sum of both predictions' cross-entropies against the hidden patches' codes.

    `predictions` are two of (M, vocabulary), `codes` int64 (M,). Beside `loss`: each
    cross-entropy and the share of codes that each prediction ranks first, detached.
    """
    losses = [functional.cross_entropy(logits.float(), codes) for logits in predictions]
    result: dict[str, Any] = {"loss": losses[0] + losses[1]}
    names = ("last", "aggregated")
    for name, logits, loss in zip(names, predictions, losses, strict=True):
        result[f"loss_{name}"] = loss.detach()
        result[f"accuracy_{name}"] = (logits.detach().argmax(-1) == codes).float().mean()
    return result
