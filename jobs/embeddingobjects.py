"""Embeddings as results: pieces are staged, and joined into one object a slide."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jobs.items import EmbeddedPiece, Report, SlideWork
from pathray import outputs, storage
from pathray.cohort import Slide
from pathray.embeddings import Embeddings, object_name, read_embeddings, write_embeddings
from pathray.metadata import Metadata, first_difference, read_metadata, refuse_changed
from pathray.outputs import Status, staged_piece
from pathray.storage import Source
from pathray.tiling import Tiling, slide_identity


@dataclass(frozen=True)
class EmbeddingObjects:
    """The embeddings below `out`, as `jobs.resume.Results`.

    `encoder` are the encoder's identity settings. `tiling` is None where the tiles come from
    shards: a slide's URI is then its first shard's, whose own identity holds.
    """

    out: str
    tiling: Tiling | None
    encoder: dict[str, Any]
    max_tiles_lost: float
    statuses: dict[str, Status] = field(default_factory=dict)

    def identity(self, slide: Slide, source: Source) -> dict[str, Any]:
        """See `Results.identity`."""
        if self.tiling is None:
            return dict(read_metadata(slide.uri).identity) | self.encoder
        return slide_identity(slide, source, self.tiling) | self.encoder

    @cached_property
    def _present(self) -> set[str]:
        """File names of finished objects; one listing for the whole cohort."""
        return {entry.name for entry in storage.list_objects(self.out, recursive=False)}

    @cached_property
    def _staged(self) -> dict[str, list[int]]:
        return outputs.staged_pieces(self.out)

    def look_up(self, work: SlideWork, identity: dict[str, Any]) -> Status | SlideWork:
        """See `Results.look_up`."""
        slide_id = work.slide.slide_id
        if object_name(slide_id) not in self._present:
            return replace(work, existing=frozenset(self._valid_pieces(slide_id, identity)))
        uri = storage.join(self.out, object_name(slide_id))
        theirs = read_metadata(uri)
        refuse_changed(uri, identity, theirs)
        status = self.statuses.get(slide_id)
        if status and status.status != "failed":
            return status
        # The object was published and the run ended before its outcome was written.
        return self._status_of_object(work.slide, theirs)

    def _valid_pieces(self, slide_id: str, identity: dict[str, Any]) -> Iterator[int]:
        """Staged pieces made with these settings from this version of the slide."""
        for piece in self._staged.get(slide_id, []):
            theirs = read_metadata(staged_piece(self.out, slide_id, piece))
            if first_difference(identity, theirs.identity) is None:
                yield piece

    def _status_of_object(self, slide: Slide, theirs: Metadata) -> Status:
        made = theirs.provenance
        return Status(
            slide.slide_id,
            slide.patient_id,
            slide.uri,
            "done" if made["tiles"] else "empty",
            n_tiles=made["tiles"],
            tiles_lost=made["tiles_lost"],
            reader=made["reader"],
            identity=dict(theirs.identity),
        )

    def complete(self, status: Status, pieces: int) -> Status:
        """See `Results.complete`: joins the pieces in a task of its own, or fails the slide."""
        import ray

        error = outputs.too_many_lost(status, self.max_tiles_lost)
        if error is None:
            # No CPU is asked for: a finisher must not wait for one behind the readers.
            join = ray.remote(join_pieces).options(num_cpus=0, scheduling_strategy="SPREAD")
            ray.get(join.remote(self.out, status.slide_id, pieces))
            return status
        self._clear(status.slide_id, pieces)
        return replace(status, status="failed", n_tiles=0, error=error)

    def _clear(self, slide_id: str, pieces: int) -> None:
        storage.delete(staged_piece(self.out, slide_id, piece) for piece in range(pieces))


def stage_piece(out: str, embedded: EmbeddedPiece) -> Report:
    """Put one piece under `_staging`, whole; returns its report for the driver."""
    started = time.perf_counter()
    read = embedded.read
    made = read.provenance | {"tiles": len(read.x), "tiles_lost": read.lost}
    piece = Embeddings(read.x, read.y, read.tissue, embedded.vectors, Metadata(read.identity, made))
    _put(staged_piece(out, read.slide_id, read.index), iter([piece]), piece)
    busy = {"read": read.seconds, "encode": embedded.seconds}
    return Report(
        "piece",
        read.slide_id,
        piece=read.index,
        pieces=read.count,
        tiles=len(read.x),
        tiles_lost=read.lost,
        seconds=busy | {"put": time.perf_counter() - started},
        bytes_read=read.bytes_read,
    )


def join_pieces(out: str, slide_id: str, pieces: int) -> None:
    """Publish a slide's object from its staged pieces with a single put, then clear them.

    Idempotent: run again after it was interrupted, it makes the same object, or finds it made.
    """
    uri = storage.join(out, object_name(slide_id))
    staged = [staged_piece(out, slide_id, piece) for piece in range(pieces)]
    missing = [piece for piece in staged if not storage.exists(piece)]
    if missing and storage.exists(uri):
        storage.delete(staged)
        return
    metadata = [read_metadata(piece) for piece in staged]
    first = read_embeddings(staged[0])
    sums = {
        name: sum(each.provenance[name] for each in metadata) for name in ("tiles", "tiles_lost")
    }
    joined = Metadata(first.metadata.identity, {**first.metadata.provenance, **sums})
    _put(uri, map(read_embeddings, staged), replace(first, metadata=joined))
    storage.delete(staged)


def _put(uri: str, pieces: Iterator[Embeddings], like: Embeddings) -> None:
    """Write pieces to a file of this node and put it; `like` gives width and metadata."""
    with tempfile.TemporaryDirectory(prefix="pathray-") as folder:
        path = Path(folder) / "embeddings.parquet"
        write_embeddings(path, pieces, like.vectors.shape[1], like.metadata)
        storage.put_file(uri, path)
