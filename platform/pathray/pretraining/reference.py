"""State dicts of the reference implementation (microsoft/unilm, beit2) as our networks.

Masked image modelling, the names of parameters and gradients being the reference's:

>>> model = load_beitv2(state, config)  # config: the reference's keyword arguments
>>> logits = model(image, mask.bool().flatten(1))  # image normalised (B, 3, S, S)
>>> masked_loss(logits, labels)["loss"].backward()
>>> gradients = {name: p.grad for name, p in model.named_parameters()}

The tokenizer, its codebook after one step being `model.quantize.weight` (the reference's
`quantize.embedding.weight`) and `model.quantize.hits` (its `quantize.cluster_size`):

>>> model = load_vqkd(state, config).train()
>>> restored = model(image)  # image in 0..1
>>> distillation_loss(restored, target)["loss"].backward()
>>> model.quantize.update()
>>> restored.features, restored.quantised.codes, restored.quantised.vectors  # (B, P, …)
"""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any, TypeVar

from torch import Tensor, nn

from pathray.encoders.architecture import uninitialised
from pathray.encoders.checkpoint import read_tensors
from pathray.encoders.inference import mlp_ratio
from pathray.errors import RequestError, one_line
from pathray.pretraining.codebook import DECAY, Codebook
from pathray.pretraining.masked_image_model import MaskedImageModel, masked_loss
from pathray.pretraining.tokenizer import Tokenizer, TrainableTokenizer
from pathray.pretraining.tokenizer_directory import write_tokenizer
from pathray.pretraining.vit import Shape
from pathray.pretraining.vqkd import distillation_loss

__all__ = [
    "convert_vqkd", "distillation_loss", "load_beitv2", "load_vqkd", "load_vqkd_tokenizer",
    "masked_loss",
]  # fmt: skip

Tensors = Mapping[str, Tensor]
Config = Mapping[str, Any]
M = TypeVar("M", bound=nn.Module)

# Width of an attention head of every published size; a ViT's tensors do not say it.
_HEAD = 64
# The aggregation takes the tokens of the fourth layer from the end: 9 of 12, 21 of 24.
_LAYERS_AFTER_EARLY = 3

_INDEX = "rel_pos_bias.relative_position_index"
_NO_PART = re.compile(r"^(teacher|scaling|loss|quantize\.)|^" + re.escape(_INDEX))


def load_beitv2(state: Tensors, config: Config | None = None) -> MaskedImageModel:
    """The network of `beit_*_8k_vocab_cls_pt` in evaluation mode.

    Sizes are read off the tensors. Of `config` the early layer (`early_layers`) and the
    chance of dropping a path (`drop_path_rate`) are taken; without it, the released models'.
    Raises RequestError when a tensor is missing, unknown or of another shape.
    """
    said = config or {}
    table = _need(state, "rel_pos_bias.relative_position_bias_table")
    grid = (isqrt(len(table) - 3) + 1) // 2
    shape = _shape(state, "", grid=grid, heads=table.shape[1])
    gamma = state.get("blocks.0.gamma_1")
    with uninitialised():
        model = MaskedImageModel(
            shape,
            vocabulary=len(_need(state, "lm_head.weight")),
            early_layer=int(said.get("early_layers", shape.depth - _LAYERS_AFTER_EARLY)),
            head_layers=_depth(state, "cls_pt_layers."),
            layer_scale=None if gamma is None else 0.1,
            drop_path=float(said.get("drop_path_rate", 0.0)),
            qkv_bias="blocks.0.attn.q_bias" in state,
        )
    return _filled(model, {n: t for n, t in state.items() if n != _INDEX})


def load_vqkd(state: Tensors, config: Config | None = None) -> TrainableTokenizer:
    """The network of `vqkd_encoder_*_decoder_*`, decoder included, in evaluation mode.

    As `load_beitv2`; of `config` are taken `encoder.num_heads`, `decoder.num_heads` and
    `decay`. Dead codes are left dead, as the reference does.
    """
    said = config or {}
    shape = _vit_shape(state, "encoder.", said)
    decoder = _vit_shape(state, "decoder.", said)
    with uninitialised():
        out = len(_need(state, "decode_task_layer.2.weight"))
        model = TrainableTokenizer(shape, _codebook(state, said), decoder, out)
    return _filled(model, _tokenizer_state(state, model.quantize))


def load_vqkd_tokenizer(state: Tensors, config: Config | None = None) -> Tokenizer:
    """As `load_vqkd` without the decoder: what gives BEiT v2 its codes."""
    said = config or {}
    with uninitialised():
        model = Tokenizer(_vit_shape(state, "encoder.", said), _codebook(state, said))
    kept = {n: t for n, t in state.items() if not n.startswith(("decoder.", "decode_task_layer."))}
    return _filled(model, _tokenizer_state(kept, model.quantize))


def convert_vqkd(
    checkpoint: str, out: str, *, num_heads: int | None = None, allow_pickle: bool = False
) -> str:
    """Write a tokenizer directory from a released VQ-KD checkpoint; returns its digest.

    BEPH pretrained with the codes of such a checkpoint, trained on ImageNet. `num_heads` is
    what the file does not hold; None is one per 64 channels, as released.
    """
    said = {} if num_heads is None else {"encoder": {"num_heads": num_heads}}
    tokenizer = load_vqkd_tokenizer(read_tensors(checkpoint, allow_pickle), said)
    return write_tokenizer(out, tokenizer.shape, tokenizer.state_dict())


def _shape(state: Tensors, prefix: str, *, grid: int, heads: int) -> Shape:
    width, channels, patch, _ = _need(state, f"{prefix}patch_embed.proj.weight").shape
    hidden = len(_need(state, f"{prefix}blocks.0.mlp.fc1.weight"))
    return Shape(
        width=width,
        depth=_depth(state, f"{prefix}blocks."),
        heads=heads,
        grid=grid,
        patch=patch,
        channels=channels,
        mlp_ratio=mlp_ratio(hidden, width),
    )


def _vit_shape(state: Tensors, prefix: str, config: Config) -> Shape:
    position = _need(state, f"{prefix}pos_embed")
    said = config.get(prefix.rstrip("."), {})
    heads = int(said.get("num_heads", position.shape[2] // _HEAD))
    return _shape(state, prefix, grid=isqrt(position.shape[1] - 1), heads=heads)


def _depth(state: Tensors, prefix: str) -> int:
    found = {name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)}
    return len(found)


def _codebook(state: Tensors, config: Config) -> Codebook:
    size, width = _need(state, "quantize.embedding.weight").shape
    return Codebook(size, width, decay=float(config.get("decay", DECAY)))


def _tokenizer_state(state: Tensors, codebook: Codebook) -> dict[str, Tensor]:
    hits = state.get("quantize.cluster_size", codebook.hits.new_zeros(codebook.size))
    return {
        **{name: tensor for name, tensor in state.items() if not _NO_PART.match(name)},
        "quantize.weight": _need(state, "quantize.embedding.weight"),
        "quantize.hits": hits,
        "quantize.idle": codebook.idle.new_zeros(codebook.size),
    }


def _need(state: Tensors, name: str) -> Tensor:
    if name not in state:
        raise RequestError(f"the checkpoint has no {name}: it is not of the reference's names")
    return state[name]


def _filled(model: M, state: Tensors) -> M:
    try:
        model.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        raise RequestError(f"the checkpoint does not fit: {one_line(error, 300)}") from error
    return model.eval()
