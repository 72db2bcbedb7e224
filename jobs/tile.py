"""`pathray tile`: a cohort of slides to Parquet tile shards."""

from typing import Literal

from pydantic import Field

from jobs.tilingflags import TilingFlags


class Flags(TilingFlags):
    """Cut slides into Parquet tile shards."""

    slides: str = Field(description="directory, prefix, glob, slide or cohort table")
    tile_size: int = Field(224, gt=0, le=8192, description="side of a tile in pixels")
    mpp: float | Literal["native"] = Field(0.25, description="microns per pixel of the tiles")
    lossless: bool = Field(False, description="store PNG instead of JPEG 4:4:4 quality 90")


def run(flags: Flags) -> int:
    """Tile a cohort; returns the exit code."""
    from jobs.tilepipeline import tile  # Ray and pyarrow stay out of --help

    return tile(flags)
