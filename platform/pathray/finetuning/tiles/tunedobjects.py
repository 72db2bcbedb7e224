"""The objects of a fold whose whole encoder was trained.

<out>/fold-<name>/encoder/           an encoder directory, as `embed --encoder` takes it
<out>/fold-<name>/head.safetensors   the linear layer on it: weight (C, D), bias (C,)
<out>/fold-<name>/outcome.json       its answers; put last
"""

from dataclasses import replace

import safetensors.torch

from pathray import storage
from pathray.encoders.directory import write_directory
from pathray.encoders.spec import EncoderSpec
from pathray.finetuning.foldobjects import fold_folder, put_outcome
from pathray.finetuning.result import FoldOutcome
from pathray.finetuning.tiles.tuning import TileClassifier

ENCODER, HEAD = "encoder", "head.safetensors"


def put_tuned(out: str, outcome: FoldOutcome, spec: EncoderSpec, model: TileClassifier) -> None:
    """Write a fold. `spec` is that of the encoder it began from; the classes are the run's."""
    folder = fold_folder(out, outcome.fold)
    named = replace(
        spec,
        name=f"{spec.name}-tuned-{outcome.fold}",
        weights=None,
        source=f"fine-tuned from {spec.name}",
    )
    digest = write_directory(storage.join(folder, ENCODER), named, model.network.state_dict())
    head = {name: tensor.cpu().contiguous() for name, tensor in model.head.state_dict().items()}
    storage.put_bytes(storage.join(folder, HEAD), safetensors.torch.save(head))
    put_outcome(out, outcome.model_copy(update={"digest": digest}))
