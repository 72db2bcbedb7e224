"""`pathray embed`: slides, or tile shards, to one Parquet object of embeddings a slide."""

from typing import Literal, Self

from pydantic import Field, model_validator

from jobs.tilingflags import TileMpp, TilingFlags


class Flags(TilingFlags):
    """Embed slides or tile shards, one Parquet object a slide."""

    slides: str | None = Field(None, description="directory, prefix, glob, slide or cohort table")
    tiles: str | None = Field(None, description="tile shards that `pathray tile` made, instead")
    encoder: str = Field(description="registered name, timm/NAME, or an encoder directory's URI")
    weights: str | None = Field(None, description="URI of the encoder's weights")
    random_init: bool = Field(False, description="seeded random weights instead of released ones")
    allow_pickle: bool = Field(False, description="load weights that need pickled code: trust them")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the hardware has it"
    )
    tile_size: int | None = Field(
        None, gt=0, le=8192, description="side of a tile in pixels (default: the encoder's)"
    )
    mpp: TileMpp | None = Field(
        None, description="microns per pixel of the tiles (default: the encoder's, else 0.25)"
    )
    batch_size: int | None = Field(
        None, gt=0, description="tiles a forward pass (default: 256 on a GPU, else 8)"
    )
    num_encoders: int | None = Field(
        None, gt=0, description="largest pool of encoders (default: one a GPU, or by CPUs)"
    )
    gpus_per_encoder: float | None = Field(
        None, ge=0, description="default: 1 where the cluster has GPUs, else 0"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.slides is None) == (self.tiles is None):
            raise ValueError("give either --slides or --tiles")
        mine = {"tile_size", "mpp", *TilingFlags.model_fields} - {"out", "max_tiles_lost", "seed"}
        told = sorted(mine & self.model_fields_set)
        if self.tiles is not None and told:
            flag = "--" + told[0].replace("_", "-")
            raise ValueError(f"{flag} has no meaning with --tiles: the shards are cut already")
        return self


def run(flags: Flags) -> int:
    """Embed a cohort; returns the exit code."""
    from jobs.embedpipeline import embed  # Ray and torch stay out of --help

    return embed(flags)
