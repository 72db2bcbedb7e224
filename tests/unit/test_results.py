"""Tile shards and embeddings as results: what a rerun finds, how a slide is completed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.embeddingobjects import EmbeddingObjects, join_pieces, stage_piece
from jobs.items import EmbeddedPiece, ReadPiece, SlideWork
from jobs.shardstore import open_store
from jobs.tileshards import TileShards
from pathray import outputs, storage
from pathray.cohort import Slide
from pathray.embeddings import read_embeddings
from pathray.errors import RequestError, SlideError
from pathray.metadata import Metadata, read_metadata
from pathray.outputs import Status
from pathray.storage import Source
from pathray.tilestore import JPEG, Shard, serialise, shard_name
from pathray.tiling import Tiling

SLIDE = Slide("a-00001", "/data/a.svs", "P1")
WORK = SlideWork(SLIDE, Source(10, "v1"))
CHANGED = SlideWork(SLIDE, Source(10, "v2"))
DONE = Status("a-00001", "P1", "/data/a.svs", "done", n_tiles=4, tiles_lost=0)
ENCODER = {"encoder_digest": "abc", "precision": "fp32"}


@pytest.fixture(params=["local", "memory"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh output folder or prefix."""
    return str(tmp_path / "out") if request.param == "local" else f"memory://res-{tmp_path.name}"


def shards(out: str, *statuses: Status) -> TileShards:
    return TileShards(out, Tiling(), JPEG, 0.01, {s.slide_id: s for s in statuses})


def put_shard(out: str, index: int, pieces: int = 2, slide_id: str = "a-00001") -> None:
    """A shard of two tiles as the `tile` job puts it."""
    identity = shards(out).identity(SLIDE, WORK.source)
    made = {
        "piece": index,
        "pieces": pieces,
        "tiles_planned": 4,
        "tiles_lost": 0,
        "patient_id": "P1",
    }
    x, y = np.array([0, 224], np.int32), np.full(2, 224 * index, np.int32)
    shard = Shard(
        slide_id, "P1", x, y, np.ones(2, np.float32), [b"1", b"2"], Metadata(identity, made)
    )
    storage.put_bytes(storage.join(out, shard_name(slide_id, index)), serialise(shard))


def look_up_shards(out: str, work: SlideWork, *statuses: Status) -> Status | SlideWork:
    results = shards(out, *statuses)
    return results.look_up(work, results.identity(work.slide, work.source))


def test_a_slide_without_shards_is_all_to_do(out: str) -> None:
    assert look_up_shards(out, WORK) == WORK
    put_shard(out, 0, slide_id="a")
    assert look_up_shards(out, WORK) == WORK


def test_the_shards_that_are_there_are_kept(out: str) -> None:
    put_shard(out, 1)
    assert look_up_shards(out, WORK, DONE) == replace(WORK, existing=frozenset({1}))


def test_a_slide_with_all_shards_and_its_outcome_is_done(out: str) -> None:
    put_shard(out, 0)
    put_shard(out, 1)
    assert look_up_shards(out, WORK, DONE) == DONE
    assert look_up_shards(out, WORK) == replace(WORK, existing=frozenset({0, 1}))
    failed = replace(DONE, status="failed")
    assert look_up_shards(out, WORK, failed) == replace(WORK, existing=frozenset({0, 1}))


def test_shards_of_another_version_of_the_slide_fail_it(out: str) -> None:
    put_shard(out, 1)
    with pytest.raises(SlideError, match=r"the slide changed since .*a-00001-00001\.parquet"):
        look_up_shards(out, CHANGED)


def test_the_shards_of_a_slide_that_lost_too_many_tiles_are_removed(out: str) -> None:
    for index in range(2):
        put_shard(out, index)
    put_shard(out, 0, slide_id="other")
    status = shards(out).complete(replace(DONE, n_tiles=3, tiles_lost=1), 2)
    assert (status.status, status.n_tiles) == ("failed", 0)
    assert [entry.name for entry in storage.list_objects(out)] == ["other-00000.parquet"]
    assert shards(out).complete(DONE, 2) == DONE


def read_piece(index: int, n: int = 3, lost: int = 0, version: str = "v1") -> EmbeddedPiece:
    x, y = np.arange(n, dtype=np.int32) * 224, np.full(n, 224 * index, np.int32)
    identity = objects("").identity(SLIDE, Source(10, version))
    read = ReadPiece(
        "a-00001", index, 2, x, y, np.ones(n, np.float32), 224, lost, identity,
        {"reader": "tiff", "encoder": "mean-rgb"}, 0.5, 11,
    )  # fmt: skip
    return EmbeddedPiece(read, np.full((n, 4), index, np.float16), 0.25)


def objects(out: str, *statuses: Status) -> EmbeddingObjects:
    return EmbeddingObjects(out, Tiling(), ENCODER, 0.01, {s.slide_id: s for s in statuses})


def look_up(out: str, work: SlideWork, *statuses: Status) -> Status | SlideWork:
    results = objects(out, *statuses)
    return results.look_up(work, results.identity(work.slide, work.source))


def test_a_staged_piece_waits_under_its_slide_and_is_reported(out: str) -> None:
    report = stage_piece(out, read_piece(1, lost=2))
    assert (report.kind, report.slide_id, report.piece, report.pieces) == ("piece", "a-00001", 1, 2)
    assert (report.tiles, report.tiles_lost, report.bytes_read) == (3, 2, 11)
    assert report.seconds.keys() == {"read", "encode", "put"}
    assert outputs.staged_pieces(out) == {"a-00001": [1]}


def test_pieces_are_joined_in_y_x_order_and_the_staging_is_cleared(out: str) -> None:
    for index in (1, 0):
        stage_piece(out, read_piece(index, lost=index))
    join_pieces(out, "a-00001", 2)
    made = read_embeddings(storage.join(out, "a-00001.parquet"))
    assert (np.lexsort((made.x, made.y)) == np.arange(6)).all()
    assert made.vectors[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert (made.metadata.provenance["tiles"], made.metadata.provenance["tiles_lost"]) == (6, 1)
    assert made.metadata.identity["encoder_digest"] == "abc"
    assert [entry.name for entry in storage.list_objects(out)] == ["a-00001.parquet"]


def staged_and_joined(out: str) -> bytes:
    for index in range(2):
        stage_piece(out, read_piece(index))
    join_pieces(out, "a-00001", 2)
    return storage.read_bytes(storage.join(out, "a-00001.parquet"))


def test_joining_again_makes_the_same_bytes(out: str) -> None:
    first = staged_and_joined(out)
    join_pieces(out, "a-00001", 2)
    assert storage.read_bytes(storage.join(out, "a-00001.parquet")) == first
    assert staged_and_joined(out) == first
    assert outputs.staged_pieces(out) == {}


def test_a_join_that_was_killed_while_clearing_is_finished_by_the_next(out: str) -> None:
    first = staged_and_joined(out)
    stage_piece(out, read_piece(1))
    join_pieces(out, "a-00001", 2)
    assert storage.read_bytes(storage.join(out, "a-00001.parquet")) == first
    assert outputs.staged_pieces(out) == {}


def test_a_join_without_its_pieces_is_an_error_and_publishes_nothing(out: str) -> None:
    stage_piece(out, read_piece(1))
    with pytest.raises(FileNotFoundError):
        join_pieces(out, "a-00001", 2)
    assert not storage.exists(storage.join(out, "a-00001.parquet"))


def test_a_slide_without_tissue_is_an_object_without_rows(out: str) -> None:
    stage_piece(out, read_piece(0, n=0))
    join_pieces(out, "a-00001", 1)
    assert read_embeddings(storage.join(out, "a-00001.parquet")).vectors.shape == (0, 4)
    found = look_up(out, WORK)
    assert isinstance(found, Status)
    assert (found.status, found.n_tiles) == ("empty", 0)


def test_a_published_object_is_done_with_or_without_its_outcome(out: str) -> None:
    staged_and_joined(out)
    assert look_up(out, WORK, DONE) == DONE
    found = look_up(out, WORK)
    assert isinstance(found, Status)
    assert (found.status, found.n_tiles, found.reader) == ("done", 6, "tiff")
    assert found.patient_id == "P1"


def test_staged_pieces_of_this_version_are_kept_and_others_made_again(out: str) -> None:
    stage_piece(out, read_piece(0, version="v0"))
    stage_piece(out, read_piece(1))
    assert look_up(out, WORK) == replace(WORK, existing=frozenset({1}))


def test_an_object_of_another_version_of_the_slide_fails_it(out: str) -> None:
    staged_and_joined(out)
    with pytest.raises(SlideError, match="the slide changed since"):
        look_up(out, CHANGED)


def put_store(out: str, **settings: Any) -> None:
    outputs.put_settings(out, {"kind": "tiles", "tile_size": 224} | settings)


def test_a_store_of_tile_shards_is_a_cohort_of_its_complete_slides(out: str) -> None:
    put_store(out)
    for index in range(2):
        put_shard(out, index)
    put_shard(out, 1, slide_id="b")
    put_shard(out, 0, slide_id="c")
    store = open_store(out)
    assert store.slides == [Slide("a-00001", storage.join(out, "a-00001-00000.parquet"), "P1")]
    assert [status.slide_id for status in store.incomplete] == ["b", "c"]
    assert [status.error for status in store.incomplete] == [
        "1 of its tile shards are there and not the first: tile it again",
        "1 of 2 tile shards are there: tile it again",
    ]
    assert store.settings["tile_size"] == 224


def test_a_slide_that_could_not_be_tiled_is_told_and_not_forgotten(out: str) -> None:
    put_store(out)
    for index in range(2):
        put_shard(out, index)
    outputs.put_status(out, DONE)
    outputs.put_status(out, Status("bad", "P2", "/data/bad.svs", "failed", error="no mpp"))
    store = open_store(out)
    assert [slide.slide_id for slide in store.slides] == ["a-00001"]
    (failed,) = store.incomplete
    assert (failed.slide_id, failed.patient_id, failed.status) == ("bad", "P2", "failed")
    assert failed.error == "it could not be tiled: no mpp"


def test_a_damaged_shard_costs_its_own_slide(out: str) -> None:
    put_store(out)
    for index in range(2):
        put_shard(out, index)
    storage.put_bytes(storage.join(out, "b-00000.parquet"), b"no parquet")
    store = open_store(out)
    assert [slide.slide_id for slide in store.slides] == ["a-00001"]
    (damaged,) = store.incomplete
    assert damaged.error
    assert "b-00000.parquet" in damaged.error


def test_a_folder_that_holds_no_shards_is_a_wrong_request(out: str) -> None:
    with pytest.raises(RequestError, match=r"--tiles: .* holds no tile shards: make them with"):
        open_store(out)
    put_store(out)
    with pytest.raises(RequestError, match="holds no tile shards yet: run `pathray tile` first"):
        open_store(out)


def test_a_folder_of_embeddings_is_not_taken_for_tile_shards(out: str) -> None:
    put_store(out, kind="embeddings")
    with pytest.raises(RequestError, match="holds embeddings, not tile shards"):
        open_store(out)


def test_embeddings_of_shards_have_the_shards_own_identity(out: str) -> None:
    put_shard(out, 0)
    uri = storage.join(out, "a-00001-00000.parquet")
    results = EmbeddingObjects(storage.join(out, "emb"), None, ENCODER, 0.01)
    identity = results.identity(Slide("a-00001", uri), storage.stat(uri))
    assert identity == {**read_metadata(uri).identity, **ENCODER}
