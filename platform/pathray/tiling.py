"""From an open slide to its tiles: the settings, the plan, the cutting."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pathray import __version__, storage
from pathray.cohort import Slide
from pathray.errors import RequestError
from pathray.metadata import COORDINATES, FORMAT_VERSION
from pathray.slides.grid import (
    Sampling,
    choose_sampling,
    lay_grid,
    sample_tiles,
    split_into_pieces,
)
from pathray.slides.mpp import Mpp, settle_mpp
from pathray.slides.reader import Pixels, SlideReader
from pathray.slides.tissue import TissueMask, find_tissue, mask_digest, read_mask_image
from pathray.storage import Source


@dataclass(frozen=True)
class Tiling:
    """What decides which tiles a slide has. Sizes in pixels of the finished tile, mpp in µm."""

    tile_size: int = 224
    mpp: float | Literal["native"] = 0.25
    tolerance: float = 0.1
    stride: int | None = None
    min_tissue: float = 0.75
    tissue: str = "saturation-otsu"
    mask: str | None = None
    tiles_per_slide: int | None = None
    seed: int = 0
    assume_mpp: float | None = None
    allow_upsample: bool = False

    def identity(self) -> dict[str, Any]:
        """The settings that a rerun must share. A mask is named by each slide's own digest."""
        return {
            "format_version": FORMAT_VERSION,
            "tile_size": self.tile_size,
            "mpp": self.mpp,
            "tolerance": self.tolerance,
            "stride": self.stride or self.tile_size,
            "min_tissue": self.min_tissue,
            "tissue": "mask" if self.mask else self.tissue,
            "tiles_per_slide": self.tiles_per_slide,
            "seed": self.seed,
            "resampling": "area",
            "assume_mpp": self.assume_mpp,
        }

    def mask_of(self, slide_id: str) -> str | None:
        """The URI of a slide's mask image: `--mask` with `{slide_id}` filled in."""
        return self.mask.replace("{slide_id}", slide_id) if self.mask else None


@dataclass(frozen=True)
class Plan:
    """The tiles of one slide. x, y (N,) int32 level-0 corners in (y, x) order; tissue 0..1."""

    sampling: Sampling
    mpp: Mpp
    width: int
    height: int
    reader: str
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    tissue: NDArray[np.float32]

    def pieces(self) -> list[tuple[int, int]]:
        """Ranges [start, stop) of tiles: the units of work and of retry."""
        return split_into_pieces(len(self.x), self.sampling.tile_size)

    def part(self, start: int, stop: int) -> "Plan":
        """The plan of some of the tiles."""
        part = slice(start, stop)
        return replace(self, x=self.x[part], y=self.y[part], tissue=self.tissue[part])

    @staticmethod
    def join(plans: "Sequence[Plan]") -> "Plan":
        """Parts of one plan, in order, as one."""
        x, y, tissue = (
            np.concatenate([getattr(plan, name) for plan in plans]) for name in ("x", "y", "tissue")
        )
        return replace(plans[0], x=x, y=y, tissue=tissue)


def slide_identity(slide: Slide, source: Source, tiling: Tiling) -> dict[str, Any]:
    """The settings together with the slide's own source (and mask): the identity of its objects."""
    identity = tiling.identity() | {"source": {"size": source.size, "version": source.version}}
    mask = tiling.mask_of(slide.slide_id)
    return identity | ({"mask": mask_digest(mask)} if mask else {})


def provenance(slide: Slide, source: Source, plan: Plan) -> dict[str, Any]:
    """What is recorded of a slide in its objects and never compared.

    `time` is when the source was last modified. The time of the run stands in the status
    object, because equal inputs must give equal bytes.
    """
    return {
        "coordinates": COORDINATES,
        "slide_id": slide.slide_id,
        "patient_id": slide.patient_id,
        "slide": slide.uri,
        "width": plan.width,
        "height": plan.height,
        "slide_mpp": plan.mpp.value,
        "slide_mpp_source": plan.mpp.source,
        "mpp": plan.sampling.mpp,
        "side0": plan.sampling.side0,
        "stride0": plan.sampling.stride0,
        "level": plan.sampling.level,
        "level_downsample": plan.sampling.downsample,
        "reader": plan.reader,
        "software_version": __version__,
        "time": source.modified,
    }


def plan_tiles(reader: SlideReader, slide_id: str, tiling: Tiling) -> tuple[Plan, TissueMask]:
    """Which tiles of an open slide are kept, and the mask they were chosen by.

    Raises SlideError for a slide without a usable mpp, coarser than asked, or with a mask
    that does not fit.
    """
    info = reader.info
    mpp = settle_mpp(info.mpp, info.mpp_source, tiling.assume_mpp)
    sampling = choose_sampling(
        info,
        mpp.value,
        tile_size=tiling.tile_size,
        stride=tiling.stride,
        mpp=tiling.mpp,
        tolerance=tiling.tolerance,
        allow_upsample=tiling.allow_upsample,
    )
    mask = _tissue(reader, slide_id, tiling, mpp.value)
    x, y = lay_grid(info.bounds, sampling)
    tissue = mask.fraction(x, y, sampling.side0)
    kept = np.flatnonzero(tissue >= tiling.min_tissue)
    kept = kept[sample_tiles(len(kept), tiling.tiles_per_slide, slide_id, tiling.seed)]
    plan = Plan(sampling, mpp, info.width, info.height, reader.name, x[kept], y[kept], tissue[kept])
    return plan, mask


def _tissue(reader: SlideReader, slide_id: str, tiling: Tiling, mpp: float) -> TissueMask:
    mask = tiling.mask_of(slide_id)
    if mask is None:
        return find_tissue(reader, tiling.tissue, mpp)
    return read_mask_image(mask, reader.info)


def check_mask(tiling: Tiling, cohort: list[Slide]) -> None:
    """RequestError when one mask image is given for several slides."""
    if tiling.mask and "{slide_id}" not in tiling.mask and len(cohort) > 1:
        raise RequestError(
            f"--mask {tiling.mask} is one image for {len(cohort)} slides; "
            "put {slide_id} in its name, for example masks/{slide_id}.png"
        )
    mask = tiling.mask
    if mask and "{slide_id}" not in mask and not storage.exists(mask):
        raise RequestError(f"--mask: {mask} does not exist")


def cut_tiles(reader: SlideReader, plan: Plan) -> Iterator[Pixels | None]:
    """The plan's tiles in order, uint8 (tile_size, tile_size, 3) RGB; None where undecodable.

    A yielded array may be reused by the next step.
    """
    sampling = plan.sampling
    origins = sampling.level_origins(plan.x, plan.y)
    squares = reader.read_squares(sampling.level, origins, sampling.read_side)
    return map(_resampler(sampling), squares) if sampling.resampled else squares


def _resampler(sampling: Sampling) -> Any:
    import cv2

    size = (sampling.tile_size, sampling.tile_size)
    # Area averaging for reduction; for --allow-upsample there is no area, so cubic.
    how = cv2.INTER_AREA if sampling.read_side > sampling.tile_size else cv2.INTER_CUBIC

    def resample(tile: Pixels | None) -> Pixels | None:
        return None if tile is None else cv2.resize(tile, size, interpolation=how)

    return resample
