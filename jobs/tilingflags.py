"""The flags that every job with slides has."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pathray import storage
from pathray.slides.spool import Spool, default_folder
from pathray.tiling import Tiling


class TilingFlags(BaseModel):
    """Which slides, which tiles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: str = Field(description="folder or prefix for the results (any fsspec URI)", min_length=1)
    stride: int | None = Field(
        None, gt=0, description="distance between tiles in tile pixels (default: the tile size)"
    )
    mpp_tolerance: float = Field(
        0.1, ge=0, lt=1, description="cut a pyramid level unresampled when its mpp is this near"
    )
    min_tissue: float = Field(0.75, ge=0, le=1, description="least share of tissue in a tile")
    tissue: str = Field("saturation-otsu", description="how tissue is found")
    mask: str | None = Field(
        None, description="mask image to use instead; {slide_id} in it stands for the slide"
    )
    tiles_per_slide: int | None = Field(
        None, gt=0, description="keep a random sample of this many tiles a slide"
    )
    seed: int = Field(0, ge=0, description="source of all randomness")
    assume_mpp: float | None = Field(
        None, ge=0.05, le=2.0, description="microns per pixel of slides that do not say"
    )
    allow_upsample: bool = Field(False, description="enlarge slides coarser than the asked mpp")
    max_tiles_lost: float = Field(
        0.01, ge=0, le=1, description="share of undecodable tiles above which a slide fails"
    )
    preview: str | None = Field(None, description="write a picture of each slide's tiles here")
    reader: Literal["auto", "openslide"] = Field(
        "auto", description="auto reads tiled TIFF slides by byte ranges, the rest by OpenSlide"
    )
    cache_gb: float = Field(
        50.0, gt=0, description="node-local cache for slides that need a whole local file"
    )
    cache_dir: str | None = Field(
        None, description="where that cache lies (default: PATHRAY_CACHE_DIR, else temporary)"
    )

    def tiling(self, tile_size: int, mpp: float | Literal["native"]) -> Tiling:
        """The library's settings of these flags."""
        return Tiling(
            tile_size=tile_size,
            mpp=mpp,
            tolerance=self.mpp_tolerance,
            stride=self.stride,
            min_tissue=self.min_tissue,
            tissue=self.tissue,
            mask=storage.absolute(self.mask) if self.mask else None,
            tiles_per_slide=self.tiles_per_slide,
            seed=self.seed,
            assume_mpp=self.assume_mpp,
            allow_upsample=self.allow_upsample,
        )

    def spool(self) -> Spool:
        """The node-local cache of slides that need a whole local file."""
        folder = Path(self.cache_dir) if self.cache_dir else default_folder()
        return Spool(folder, round(self.cache_gb * 1e9))

    def preview_folder(self) -> str | None:
        """Where pictures go, if they are asked for."""
        return storage.absolute(self.preview) if self.preview else None
