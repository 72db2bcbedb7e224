"""Tile shards as results: a slide is done when all its pieces are there."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from jobs.items import SlideWork
from pathray import outputs, storage
from pathray.cohort import Slide
from pathray.metadata import read_metadata, refuse_changed
from pathray.outputs import Status
from pathray.storage import Source
from pathray.tilestore import parse_shard_name, shard_name
from pathray.tiling import Tiling, slide_identity


@dataclass(frozen=True)
class TileShards:
    """The shards below `out`, as `jobs.resume.Results`."""

    out: str
    tiling: Tiling
    codec: str
    max_tiles_lost: float
    statuses: dict[str, Status] = field(default_factory=dict)

    def identity(self, slide: Slide, source: Source) -> dict[str, Any]:
        """See `Results.identity`."""
        return slide_identity(slide, source, self.tiling) | {"image_codec": self.codec}

    @cached_property
    def _present(self) -> dict[str, set[int]]:
        """The pieces that are there, by slide_id; one listing for the whole cohort."""
        present: dict[str, set[int]] = {}
        for entry in storage.list_objects(self.out, recursive=False):
            parsed = parse_shard_name(entry.name)
            if parsed:
                present.setdefault(parsed[0], set()).add(parsed[1])
        return present

    def look_up(self, work: SlideWork, identity: dict[str, Any]) -> Status | SlideWork:
        """See `Results.look_up`."""
        slide_id = work.slide.slide_id
        present = self._present.get(slide_id)
        if not present:
            return work
        first = self._uri(slide_id, min(present))
        theirs = read_metadata(first)
        refuse_changed(first, identity, theirs)
        status = self.statuses.get(slide_id)
        if status and status.status != "failed" and len(present) == theirs.provenance["pieces"]:
            return status
        return replace(work, existing=frozenset(present))

    def complete(self, status: Status, pieces: int) -> Status:
        """See `Results.complete`; the shards of a slide that lost too much are removed."""
        error = outputs.too_many_lost(status, self.max_tiles_lost)
        if error is None:
            return status
        storage.delete(self._uri(status.slide_id, piece) for piece in range(pieces))
        return replace(status, status="failed", n_tiles=0, error=error)

    def _uri(self, slide_id: str, piece: int) -> str:
        return storage.join(self.out, shard_name(slide_id, piece))
