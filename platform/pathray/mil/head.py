"""A slide model written down: `head.json` beside `model.safetensors`, at any URI.

It says which embeddings it was trained on, and refuses others.
"""

import hashlib
import json
from typing import Any, Literal

import safetensors.torch
from pydantic import BaseModel, ConfigDict

from pathray import storage
from pathray.encoders.checkpoint import read_object
from pathray.encoders.digest import tensor_line
from pathray.errors import RequestError, one_line
from pathray.mil.aggregator import Aggregator, AggregatorSettings
from pathray.mil.aggregators import build_aggregator
from pathray.mil.formats.bag import Made

FORMAT = 1
DESCRIPTION = "head.json"
WEIGHTS = "model.safetensors"


class Head(BaseModel):
    """What a slide model is beside its weights.

    `made`: the embeddings it was trained on. `target` is the cohort's column, or `survival`;
    `classes` the labels in the order of the logits (empty for survival). `loss` says what the
    logits are: classes (`ce`), a log hazard (`cox`), hazards of intervals (`nll`). `level` is
    what a bag is. `task` is JSON that belongs to the target (interval cuts, a baseline hazard).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: AggregatorSettings
    made: Made
    target: str
    loss: Literal["ce", "cox", "nll"]
    classes: tuple[str, ...] = ()
    level: Literal["slide", "patient"] = "slide"
    task: dict[str, Any] = {}

    def refuse_other(self, made: Made, name: str = "these embeddings") -> None:
        """RequestError unless embeddings made so are what the model was trained on.

        Compared are encoder digest, mpp, tile size and width; the encoder's name is only told.
        """
        for what in ("encoder_digest", "mpp", "tile_size", "dim"):
            mine, theirs = getattr(self.made, what), getattr(made, what)
            if mine != theirs:
                raise RequestError(
                    f"the model for {self.target!r} was trained on embeddings of "
                    f"{_words(self.made)}; {name} are of {_words(made)}: {what} differs"
                )


def _words(made: Made) -> str:
    digest = f" {made.encoder_digest[:12]}" if made.encoder_digest else ""
    said = made.encoder or "an unnamed encoder"
    return f"{said}{digest} (mpp {made.mpp}, tile size {made.tile_size}, width {made.dim})"


def digest_of(head: Head, model: Aggregator) -> str:
    """sha256 (hex) of the description and the sorted tensors."""
    whole = hashlib.sha256(_canonical(head))
    tensors = model.state_dict()
    for name in sorted(tensors):
        whole.update(tensor_line(name, tensors[name].cpu()))
    return whole.hexdigest()


def _canonical(head: Head) -> bytes:
    return json.dumps(head.model_dump(mode="json"), sort_keys=True, allow_nan=False).encode()


def save_head(uri: str, head: Head, model: Aggregator) -> str:
    """Write a slide model; returns its digest. The weights go first: with a `head.json` the
    folder is whole."""
    if head.settings != model.settings:
        raise ValueError("the head's settings are not the model's")
    digest = digest_of(head, model)
    tensors = {name: each.cpu().contiguous() for name, each in model.state_dict().items()}
    described = {"format": FORMAT, "digest": digest} | head.model_dump(mode="json")
    storage.put_bytes(storage.join(uri, WEIGHTS), safetensors.torch.save(tensors))
    text = json.dumps(described, indent=2, allow_nan=False) + "\n"
    storage.put_bytes(storage.join(uri, DESCRIPTION), text.encode())
    return digest


def load_head(uri: str) -> tuple[Head, Aggregator]:
    """A slide model, in eval mode. RequestError when it is not there, or not what it says."""
    where = storage.join(uri, DESCRIPTION)
    try:
        described = json.loads(read_object(where))
        version, digest = described.pop("format"), described.pop("digest")
        head = Head.model_validate(described) if version == FORMAT else None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RequestError(f"{where} describes no slide model: {one_line(error, 160)}") from error
    if head is None:
        raise RequestError(f"{where} has format {version}; this version reads {FORMAT}")
    model = build_aggregator(head.settings)
    weights = storage.join(uri, WEIGHTS)
    try:
        model.load_state_dict(safetensors.torch.load(read_object(weights)))
    except RequestError:
        raise
    except Exception as error:  # safetensors and torch have their own
        raise RequestError(f"{weights} does not fit {where}: {one_line(error, 160)}") from error
    if digest_of(head, model) != digest:
        raise RequestError(f"{uri} is damaged: its digest is not {digest[:12]}…")
    return head, model.eval()
