"""Bags of a store: one a slide, or one a patient with all of the patient's slides."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pathray.errors import RequestError
from pathray.mil.store import BagStore


@dataclass(frozen=True)
class Bags:
    """Bags sorted by id, each the slides (indices into the store) it is made of.

    `empty` are the ids of bags that would have no tiles; they are not among `ids`.
    """

    store: BagStore
    ids: tuple[str, ...]
    slides: tuple[tuple[int, ...], ...]
    empty: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Tiles of each bag (len,)."""
        counts = np.diff(self.store.offsets)
        return np.array([counts[list(slides)].sum() for slides in self.slides], np.int64)

    def runs(self, bag: int) -> list[slice]:
        """The store's rows of a bag, a slice a slide, in order of slide_id."""
        offsets = self.store.offsets
        return [slice(offsets[slide], offsets[slide + 1]) for slide in self.slides[bag]]

    def rows(self, bag: int) -> NDArray[np.int64]:
        """The store's row of each tile of a bag (N,)."""
        return np.concatenate([np.arange(run.start, run.stop) for run in self.runs(bag)])

    def slide_of_tiles(self, bag: int) -> NDArray[np.str_]:
        """The slide_id of each tile of a bag (N,)."""
        names = [self.store.slide_ids[slide] for slide in self.slides[bag]]
        return np.repeat(names, [run.stop - run.start for run in self.runs(bag)])


def bags_of(store: BagStore, owners: Mapping[str, str] | None = None) -> Bags:
    """Bags of a store. `owners` maps slide_id to the bag it belongs to (the patient, or the
    slide itself); slides it does not name are left out. None: every slide is a bag.

    Raises RequestError when it names a slide that the store lacks.
    """
    places = {slide: index for index, slide in enumerate(store.slide_ids)}
    owners = {slide: slide for slide in places} if owners is None else owners
    missing = sorted(set(owners) - set(places))
    if missing:
        raise RequestError(
            f"{len(missing)} slide(s) have no embeddings: {', '.join(missing[:5])}"
            + (" …" if len(missing) > 5 else "")
        )
    held: dict[str, list[int]] = {}
    for slide in sorted(owners):
        held.setdefault(owners[slide], []).append(places[slide])
    counts = np.diff(store.offsets)
    full = sorted(bag for bag, slides in held.items() if counts[slides].sum())
    slides = tuple(tuple(place for place in held[bag] if counts[place]) for bag in full)
    return Bags(store, tuple(full), slides, tuple(sorted(set(held) - set(full))))
