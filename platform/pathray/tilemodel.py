"""A tile model: the heads of one cross-validation as an ensemble, in one directory.

    tilemodel.json       what it was learnt from: encoder, size of the tiles, classes
    heads.safetensors    weight (K, C, D) and bias (K, C), float64
    encoders/0, …        of encoders trained as a whole: an encoder directory a head

`finetune --level tile` writes it (and registers it), `predict --tiles` loads it. A probe's heads
share one frozen encoder, which it names by digest. Encoders that were trained are too heavy for
a registry: a registered model says where its directory is (`home`). No pickle anywhere.
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pathray import storage
from pathray.encoders.checkpoint import read_object
from pathray.errors import RequestError, one_line
from pathray.modelregistry import download, is_registered

FORMAT = 1
DESCRIPTION, HEADS, ENCODERS = "tilemodel.json", "heads.safetensors", "encoders"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TileHead:
    """A linear layer on the vector of a tile: `weight` (C, D), `bias` (C,), float64.

    The bias of a class that was never trained on is -inf.
    """

    weight: Floats
    bias: Floats

    def probabilities(self, vectors: NDArray[np.floating]) -> Floats:
        """(N, C) of vectors (N, D)."""
        logits = vectors.astype(np.float64) @ self.weight.T + self.bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    @property
    def digest(self) -> str:
        """sha256 (hex) of both arrays."""
        whole = hashlib.sha256()
        for array in (self.weight, self.bias):
            whole.update(str(array.shape).encode() + array.astype("<f8").tobytes())
        return whole.hexdigest()


class TileModelSpec(BaseModel):
    """What a tile model is beside its heads.

    `linear` heads stand on one frozen encoder, those of `full` each on its own: `encoder_digests`
    has one, or one a head. `precision` is what the encoder ran in; `width` and `height` are of a
    tile in pixels, `dim` of its vector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["linear", "full"]
    target: str
    classes: tuple[str, ...]
    encoder: str
    encoder_digests: tuple[str, ...]
    precision: str
    dim: int
    width: int
    height: int


@dataclass(frozen=True)
class TileModel:
    """An ensemble of K heads in memory. `home` is its directory, where its encoders are."""

    spec: TileModelSpec
    heads: tuple[TileHead, ...]
    digest: str
    home: str

    def encoder_uris(self) -> list[str]:
        """The directories of its own encoders; none for a probe of a frozen one."""
        if self.spec.method == "linear":
            return []
        return [storage.join(self.home, ENCODERS, str(k)) for k in range(len(self.heads))]

    def heads_on(self, encoder: int) -> tuple[TileHead, ...]:
        """The heads that take the vectors of an encoder, by its place in `encoder_digests`."""
        return self.heads if self.spec.method == "linear" else (self.heads[encoder],)

    def refuse_other(self, encoder: int, digest: str, name: str) -> None:
        """RequestError unless an encoder, of this digest, is the model's."""
        mine = self.spec.encoder_digests[encoder]
        if digest != mine:
            raise RequestError(
                f"the model was trained on vectors of {self.spec.encoder} {mine[:12]}; {name} is "
                f"{digest[:12]}: encoder_digest differs"
            )


def digest_of(spec: TileModelSpec, heads: Sequence[TileHead]) -> str:
    """sha256 (hex) of the description and the heads."""
    described = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    lines = [described, *(head.digest for head in heads)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def save_tile_model(uri: str, spec: TileModelSpec, heads: Sequence[TileHead]) -> str:
    """Write an ensemble to a directory at any URI; returns its digest.

    The encoders of `full` are there already. The description goes last: with a `tilemodel.json`
    the directory is whole. ValueError for heads that do not fit the description.
    """
    _check(spec, heads)
    digest = digest_of(spec, heads)
    arrays = {
        name: np.stack([getattr(head, name) for head in heads]) for name in ("weight", "bias")
    }
    storage.put_bytes(storage.join(uri, HEADS), safetensors.numpy.save(arrays))
    described = {"format": FORMAT, "digest": digest, "home": uri} | spec.model_dump(mode="json")
    text = json.dumps(described, indent=2) + "\n"
    storage.put_bytes(storage.join(uri, DESCRIPTION), text.encode())
    return digest


def _check(spec: TileModelSpec, heads: Sequence[TileHead]) -> None:
    shape = (len(spec.classes), spec.dim)
    if not heads or any(h.weight.shape != shape or h.bias.shape != shape[:1] for h in heads):
        raise ValueError(f"the heads are not of {shape[0]} classes and vectors of {shape[1]}")
    encoders = 1 if spec.method == "linear" else len(heads)
    if len(spec.encoder_digests) != encoders:
        raise ValueError(f"{len(spec.encoder_digests)} encoders for {len(heads)} heads")


def load_tile_model(uri: str) -> TileModel:
    """The ensemble in a directory at any URI, or of the MLflow registry.

    Raises RequestError when it is not there, not whole, or not a tile model.
    """
    if not is_registered(uri):
        return _load(uri, uri, uri)
    with tempfile.TemporaryDirectory(prefix="pathray-model-") as folder:
        return _load(download(uri, folder), uri, None)


def _load(directory: str, name: str, home: str | None) -> TileModel:
    try:
        described = json.loads(read_object(storage.join(directory, DESCRIPTION)))
        version, digest = described.pop("format"), described.pop("digest")
        home = home or described["home"]
        if version != FORMAT:
            raise RequestError(f"{name} has format {version}; this version reads {FORMAT}")
        spec = TileModelSpec.model_validate({k: v for k, v in described.items() if k != "home"})
        arrays = safetensors.numpy.load(read_object(storage.join(directory, HEADS)))
        heads = tuple(map(TileHead, arrays["weight"], arrays["bias"]))
        _check(spec, heads)
    except RequestError as error:
        raise RequestError(f"{name} is no tile model: {error}") from error
    except Exception as error:  # JSON, pydantic and safetensors have their own
        raise RequestError(f"{name} is no tile model: {one_line(error, 160)}") from error
    if digest_of(spec, heads) != digest:
        raise RequestError(f"{name} is damaged: its digest is not {digest[:12]}…")
    return TileModel(spec, heads, digest, home)
