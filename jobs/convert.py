"""`pathray convert`: a foreign checkpoint becomes an encoder or tokenizer directory."""

import json
from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pathray.errors import RequestError


class ConvertFlags(BaseModel):
    """Turn a released checkpoint into an encoder directory (encoder.json + safetensors)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str = Field(
        description="the checkpoint, a safetensors or torch file at any URI",
        json_schema_extra={"positional": True},
    )
    format: Literal["beph", "unilm-beitv2", "unilm-vqkd", "timm", "hf"] = Field(
        description="whose names the tensors have: BEPH's release, the BEiT-v2 reference, its "
        "tokenizer (which becomes a tokenizer directory), timm, or transformers (ViT, DINOv2)"
    )
    out: str = Field(description="the directory to write, a path or URI")
    like: str | None = Field(
        None, description="registered encoder whose network, preprocessing and pooling it takes"
    )
    model: str | None = Field(None, description="timm model name, for --format timm")
    model_kwargs: str | None = Field(
        None, description="JSON arguments of the timm model, e.g. '{\"img_size\": 224}'"
    )
    num_heads: int | None = Field(
        None,
        ge=1,
        description="attention heads, for --format hf and unilm-vqkd; default: width / 64",
    )
    input_size: int | None = Field(
        None, ge=1, description="side in pixels to run at, for --format hf; default: as trained"
    )
    name: str | None = Field(None, description="name to record for the encoder")
    mean: str | None = Field(None, description="RGB mean in 0..1, e.g. 0.485,0.456,0.406")
    std: str | None = Field(None, description="RGB deviation in 0..1, e.g. 0.229,0.224,0.225")
    pooling: str | None = Field(
        None, description="embedding rule: class, mean_patch, class_mean_patch, model, ..."
    )
    mpp: float | None = Field(None, gt=0, description="microns per pixel that it expects")
    licence: str | None = Field(None, description="licence of the weights, to record")
    source: str | None = Field(None, description="where the weights come from, to record")
    allow_pickle: bool = Field(
        False, description="read a pickle that can run code; only for files you trust"
    )

    @field_validator("mean", "std")
    @classmethod
    def _three_numbers(cls, value: str | None) -> str | None:
        if value is not None:
            _rgb(value)
        return value

    @field_validator("model_kwargs")
    @classmethod
    def _json_object(cls, value: str | None) -> str | None:
        if value is not None and not isinstance(json.loads(value), dict):
            raise ValueError("is no JSON object")
        return value


Flags = ConvertFlags


def run(flags: ConvertFlags) -> int:
    """Convert and say what was written and what was left unused; exit code 0."""
    from pathray.encoders.conversion import Overrides, convert

    if flags.format == "unilm-vqkd":
        return _tokenizer(flags)
    if flags.model is not None and flags.format != "timm":
        raise RequestError("--model is for --format timm; the other formats tell their network")
    kwargs: dict[str, Any] | None = json.loads(flags.model_kwargs) if flags.model_kwargs else None
    done = convert(
        flags.checkpoint,
        flags.out,
        format=flags.format,
        like=flags.like,
        allow_pickle=flags.allow_pickle,
        overrides=Overrides(
            name=flags.name,
            model=flags.model,
            model_kwargs=kwargs,
            num_heads=flags.num_heads,
            input_size=flags.input_size,
            mean=_rgb(flags.mean) if flags.mean else None,
            std=_rgb(flags.std) if flags.std else None,
            pooling=flags.pooling,
            mpp=flags.mpp,
            licence=flags.licence,
            source=flags.source,
        ),
    )
    print(f"wrote {flags.out}: {done.spec.name}, {done.spec.width} wide, {done.spec.input_size} px")
    print(f"digest {done.digest}")
    if done.unused:
        counts = Counter(name.split(".")[0] for name in done.unused)
        groups = ", ".join(f"{part} ({n})" if n > 1 else part for part, n in counts.items())
        print(f"unused, no part of the encoder: {groups}")
    return 0


def _tokenizer(flags: ConvertFlags) -> int:
    from pathray.pretraining.reference import convert_vqkd

    meant = {"checkpoint", "format", "out", "num_heads", "allow_pickle"}
    if stray := sorted(flags.model_fields_set - meant):
        named = ", ".join("--" + name.replace("_", "-") for name in stray)
        raise RequestError(f"{named} is not for --format unilm-vqkd")
    digest = convert_vqkd(
        flags.checkpoint, flags.out, num_heads=flags.num_heads, allow_pickle=flags.allow_pickle
    )
    print(f"wrote the tokenizer {flags.out}\ndigest {digest}")
    return 0


def _rgb(text: str) -> tuple[float, float, float]:
    parts = [float(part) for part in text.split(",")]
    if len(parts) != 3 or not all(0 <= part <= 1 for part in parts):
        raise ValueError("must be three numbers in 0..1, separated by commas")
    return parts[0], parts[1], parts[2]
