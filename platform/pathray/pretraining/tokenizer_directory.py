"""The tokenizer directory: `tokenizer.json` beside `tokenizer.safetensors`, at any URI."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

import safetensors.torch
from torch import Tensor

from pathray import storage
from pathray.encoders.architecture import uninitialised
from pathray.encoders.checkpoint import load_strictly, read_object
from pathray.errors import RequestError, one_line
from pathray.pretraining.codebook import Codebook
from pathray.pretraining.tokenizer import Tokenizer
from pathray.pretraining.vit import Shape

FORMAT = 1
DESCRIPTION = "tokenizer.json"
WEIGHTS = "tokenizer.safetensors"

_TRAINING_ONLY = ("decoder.", "decode_task_layer.")


def write_tokenizer(uri: str, shape: Shape, state: dict[str, Tensor]) -> str:
    """Write a tokenizer directory; returns its digest, the sha256 of the weights' file.

    `state` is the state of a `Tokenizer` of that shape, on the CPU; a decoder is left out. The
    weights go first: a directory with a `tokenizer.json` is whole.
    """
    kept = {
        name: t.contiguous() for name, t in state.items() if not name.startswith(_TRAINING_ONLY)
    }
    weights = safetensors.torch.save(kept)
    size, width = kept["quantize.weight"].shape
    described = {
        "format": FORMAT,
        "encoder": asdict(shape),
        "codebook": {"size": size, "width": width},
        "digest": hashlib.sha256(weights).hexdigest(),
    }
    storage.put_bytes(storage.join(uri, WEIGHTS), weights)
    storage.put_bytes(
        storage.join(uri, DESCRIPTION), (json.dumps(described, indent=2) + "\n").encode()
    )
    return str(described["digest"])


def read_tokenizer(uri: str) -> tuple[Tokenizer, str]:
    """The tokenizer of a directory, on the CPU, and its digest.

    Raises RequestError when there is none, or it is of another format or changed since.
    """
    where = storage.join(uri, DESCRIPTION)
    shape, codebook, digest = _parse(read_object(where), where)
    weights = read_object(storage.join(uri, WEIGHTS))
    if hashlib.sha256(weights).hexdigest() != digest:
        raise RequestError(
            f"{uri}: the digest in {DESCRIPTION} is not that of its weights; the directory was "
            f"changed after it was written, or the copy is not whole"
        )
    with uninitialised():
        tokenizer = Tokenizer(shape, Codebook(codebook["size"], codebook["width"]))
    load_strictly(tokenizer, safetensors.torch.load(weights), uri)
    return tokenizer.eval(), digest


def _parse(content: bytes, where: str) -> tuple[Shape, dict[str, Any], str]:
    try:
        described = json.loads(content)
        if described["format"] != FORMAT:
            raise RequestError(
                f"{where} has format {described['format']}; this version reads {FORMAT}"
            )
        return Shape(**described["encoder"]), described["codebook"], described["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{where} does not describe a tokenizer: {one_line(error)}") from error
