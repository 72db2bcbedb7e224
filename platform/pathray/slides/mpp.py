"""Microns per pixel of a slide: what the file states, repaired or refused."""

from dataclasses import dataclass

from pathray.errors import SlideError

SMALLEST, LARGEST = 0.05, 2.0
"""The range of level-0 mpp that a scanner of tissue can have."""

_UNITS = (("", 1.0), (" (stated in millimetres)", 1e3), (" (stated in metres)", 1e6))
"""Repairs of the unit. Nanometres are not among them: 352.8, which is 72 dots an inch and
the default of many TIFF writers, would pass for 0.3528 µm."""


@dataclass(frozen=True)
class Mpp:
    """Microns per pixel of level 0 and where the number came from."""

    value: float
    source: str


def settle_mpp(stated: float | None, source: str | None, assumed: float | None) -> Mpp:
    """The mpp to work with.

    `stated` is the file's own number under the property `source`; `assumed` is
    `--assume-mpp`, used only where the file's own is missing or absurd. Raises SlideError
    when neither serves.
    """
    if stated is not None:
        for note, factor in _UNITS:
            if SMALLEST <= stated * factor <= LARGEST:
                return Mpp(stated * factor, f"{source}{note}")
    if assumed is not None:
        return Mpp(assumed, "--assume-mpp")
    problem = "has no mpp" if stated is None else f"has an absurd mpp of {stated:g} ({source})"
    raise SlideError(f"the slide {problem}: give --assume-mpp, for example 0.25 for 40x")
