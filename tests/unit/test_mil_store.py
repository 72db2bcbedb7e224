"""The packed cohort: built once a node from any kind of file, and cut into bags and batches."""

import multiprocessing
import os
import shutil
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from counted_store import Store

from pathray.embeddings import Embeddings, write_embeddings
from pathray.errors import RequestError
from pathray.metadata import Metadata
from pathray.mil import packing
from pathray.mil.bagfiles import find_bag_files
from pathray.mil.bags import bags_of
from pathray.mil.batches import Packer, split_by_tiles
from pathray.mil.formats.bag import Made
from pathray.mil.store import open_bag_store

PROCESSES = multiprocessing.get_context("fork")
ROOM = 10**9
IDENTITY = {"encoder_digest": "ab" * 32, "mpp": 0.5, "tile_size": 224}


def rows(count: int, seed: int, dim: int = 4) -> Embeddings:
    rng = np.random.default_rng(seed)
    return Embeddings(
        x=np.arange(count, dtype=np.int32) * 224,
        y=np.full(count, seed, np.int32),
        tissue=np.ones(count, np.float32),
        vectors=rng.normal(size=(count, dim)).astype(np.float16),
        metadata=Metadata(IDENTITY),
    )


def put(
    folder: Path, slide: str, count: int, seed: int = 0, dim: int = 4, **changed: object
) -> None:
    folder.mkdir(exist_ok=True)
    metadata = Metadata(IDENTITY | changed, {"encoder": "test"})
    pieces = [rows(count, seed, dim)] if count else []
    write_embeddings(folder / f"{slide}.parquet", pieces, dim, metadata)


@pytest.fixture
def emb(tmp_path: Path) -> Path:
    """Three slides of 3, 0 and 5 tiles, beside what else `embed` leaves."""
    folder = tmp_path / "emb"
    for seed, (slide, count) in enumerate({"a": 3, "b": 0, "c": 5}.items()):
        put(folder, slide, count, seed)
    put(folder, "_index", 1)
    put(folder / "_staging", "d", 1)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def stores(cache: Path) -> list[Path]:
    return sorted(cache.glob("bags/*-*"))


def test_the_store_is_the_slides_rows_in_order(emb: Path, cache: Path) -> None:
    with open_bag_store(find_bag_files(str(emb)), ROOM, cache) as store:
        assert store.slide_ids == ("a", "b", "c")
        assert store.offsets == (0, 3, 3, 8)
        assert store.empty == ("b",)
        assert store.made == Made(4, IDENTITY["encoder_digest"], 0.5, 224, "test")
        expected = np.concatenate([rows(3, 0).vectors, rows(5, 2).vectors])
        assert store.vectors.dtype == np.float16
        assert np.array_equal(store.vectors, expected)
        assert store.coordinates is not None
        assert store.coordinates[3:5].tolist() == [[0, 2], [224, 2]]


def test_a_store_is_found_again_and_an_object_that_changes_makes_another(
    emb: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_bag_store(find_bag_files(str(emb)), ROOM, cache):
        pass
    with monkeypatch.context() as closed:
        closed.setattr(packing, "OPENERS", {})
        with open_bag_store(find_bag_files(str(emb)), ROOM, cache) as store:
            assert len(store.vectors) == 8
    put(emb, "a", 4, seed=9)
    with open_bag_store(find_bag_files(str(emb)), ROOM, cache) as store:
        assert np.array_equal(store.vectors[:4], rows(4, 9).vectors)
    assert len(stores(cache)) == 2


def test_some_slides_of_a_folder_are_a_store_of_their_own(emb: Path, cache: Path) -> None:
    with open_bag_store(find_bag_files(str(emb))[:1], ROOM, cache) as store:
        assert (store.slide_ids, len(store.vectors)) == (("a",), 3)


def test_of_several_processes_one_builds_and_all_read(tmp_path: Path, cache: Path) -> None:
    remote = Store(tmp_path / "store")
    put(remote.root, "a", 50)
    files = find_bag_files(f"counted://{remote.root}")
    built = tmp_path / "built"

    def read() -> None:
        write = packing.Packing.write

        def noted(self: packing.Packing, folder: Path) -> None:
            with built.open("a") as notes:
                notes.write("x")
            write(self, folder)

        packing.Packing.write = noted  # type: ignore[method-assign]
        with open_bag_store(files, ROOM, cache) as store:
            os._exit(0 if np.array_equal(store.vectors, rows(50, 0).vectors) else 1)

    readers = [PROCESSES.Process(target=read) for _ in range(5)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert [reader.exitcode for reader in readers] == [0] * 5
    assert built.read_text() == "x"
    assert len(stores(cache)) == 1


def test_the_least_recently_used_store_makes_room_and_one_too_large_is_refused(
    emb: Path, cache: Path
) -> None:
    files = find_bag_files(str(emb))
    size = 8 * (4 * 2 + 8)
    for chosen in (files, files[:1], files):
        with open_bag_store(chosen, size, cache) as store:
            assert len(store.slide_ids) == len(chosen)
            assert len(stores(cache)) == 1
    with (
        pytest.raises(
            RequestError, match=r"packed cohort.*larger than the local cache.*--cache-gb"
        ),
        open_bag_store(files[:2], 20, cache),
    ):
        pass


def test_memory_does_not_grow_with_the_cohort(tmp_path: Path, cache: Path) -> None:
    def peak(slides: int) -> int:
        folder = tmp_path / f"emb{slides}"
        put(folder, "0", 3000, dim=64)
        for slide in range(1, slides):
            shutil.copy(folder / "0.parquet", folder / f"{slide}.parquet")
        files = find_bag_files(str(folder))
        tracemalloc.start()
        with open_bag_store(files, ROOM, cache) as store:
            assert len(store.vectors) == 3000 * slides
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(8), peak(64)
    assert many < 3000 * 64 * 64 * 2 / 4  # a quarter of what is stored
    assert many < 1.5 * few + 10**6


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_names_its_slide(emb: Path, cache: Path, bad: float) -> None:
    broken = rows(3, 0)
    broken.vectors[1, 2] = bad
    write_embeddings(emb / "c.parquet", [broken], 4, broken.metadata)
    with (
        pytest.raises(RequestError, match=r"slide c has embeddings that are NaN or infinite"),
        open_bag_store(find_bag_files(str(emb)), ROOM, cache),
    ):
        pass
    assert not stores(cache)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"encoder_digest": "cd"}, "encoder_digest is"),
        ({"mpp": "native"}, "mpp is 0.5 there and 'native' now|mpp is 'native' there"),
        ({"tile_size": 256}, "tile_size is"),
        ({"dim": 5}, "dim is"),
    ],
)
def test_embeddings_made_in_two_ways_are_refused_by_name(
    emb: Path, cache: Path, change: dict[str, object], told: str
) -> None:
    put(emb, "c", 2, **change)  # type: ignore[arg-type]
    with (
        pytest.raises(RequestError, match=rf"slide c was embedded in another way than a.*({told})"),
        open_bag_store(find_bag_files(str(emb)), ROOM, cache),
    ):
        pass


def test_damaged_files_are_named(emb: Path, cache: Path) -> None:
    (emb / "c.parquet").write_bytes(b"PAR1 no")
    with (
        pytest.raises(RequestError, match=r"cannot read .*c\.parquet of slide c"),
        open_bag_store(find_bag_files(str(emb)), ROOM, cache),
    ):
        pass


def test_a_folder_without_tiles_or_embeddings_is_refused(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "emb"
    with pytest.raises(RequestError, match="does not exist"):
        find_bag_files(str(folder))
    put(folder, "_index", 1)
    with pytest.raises(RequestError, match="holds no embeddings"):
        find_bag_files(str(folder))
    put(folder, "a", 0)
    with (
        pytest.raises(RequestError, match="none of the 1 bags holds a tile"),
        open_bag_store(find_bag_files(str(folder)), ROOM, cache),
    ):
        pass


def write_h5(path: Path, vectors: np.ndarray, batched: bool, patch: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"] = vectors[None] if batched else vectors
        coords = np.stack([np.arange(len(vectors)), np.zeros(len(vectors))], 1).astype(np.int64)
        file["coords"] = coords[None] if batched else coords
        if patch:
            file["coords"].attrs["patch_size"] = patch


@pytest.mark.parametrize("batched", [False, True])
def test_tridents_h5_files_are_read(tmp_path: Path, cache: Path, batched: bool) -> None:
    vectors = {name: rows(n, n, 8).vectors.astype(np.float32) for name, n in (("s1", 5), ("s2", 2))}
    for name, values in vectors.items():
        write_h5(tmp_path / "emb" / f"{name}.h5", values, batched, 256)
    with open_bag_store(find_bag_files(str(tmp_path / "emb")), ROOM, cache) as store:
        assert store.made == Made(8, tile_size=256)
        assert np.array_equal(store.vectors, np.concatenate(list(vectors.values())))
        assert store.coordinates is not None
        assert store.coordinates[:, 0].tolist() == [0, 1, 2, 3, 4, 0, 1]


@pytest.mark.parametrize("kept", [("h5_files", "pt_files"), ("pt_files",)])
def test_clams_folders_are_read_with_coordinates_where_there_are_any(
    tmp_path: Path, cache: Path, kept: Sequence[str]
) -> None:
    vectors = rows(6, 1, 8).vectors.astype(np.float32)
    if "h5_files" in kept:
        write_h5(tmp_path / "emb" / "h5_files" / "s.h5", vectors, False, None)
    folder = tmp_path / "emb" / "pt_files"
    folder.mkdir(parents=True)
    torch.save(torch.from_numpy(vectors), folder / "s.pt")
    torch.save(torch.zeros(0), folder / "empty.pt") if len(kept) == 1 else None
    with open_bag_store(find_bag_files(str(tmp_path / "emb")), ROOM, cache) as store:
        assert np.array_equal(store.vectors, vectors)
        assert (store.coordinates is not None) == ("h5_files" in kept)
        assert store.empty == (("empty",) if len(kept) == 1 else ())


def test_a_pt_file_that_could_run_code_and_mixed_kinds_are_refused(
    tmp_path: Path, cache: Path
) -> None:
    folder = tmp_path / "emb"
    folder.mkdir()
    torch.save({"features": Path("x")}, folder / "s.pt")
    with (
        pytest.raises(RequestError, match=r"s\.pt of slide s.*could run code"),
        open_bag_store(find_bag_files(str(folder)), ROOM, cache),
    ):
        pass
    put(folder, "a", 2)
    with pytest.raises(RequestError, match=r"mixes kinds of files \(1 \.\w+, 1 \.\w+\)"):
        find_bag_files(str(folder))


def test_a_patients_bag_is_all_of_its_slides(emb: Path, cache: Path) -> None:
    put(emb, "d", 2, seed=7)
    with open_bag_store(find_bag_files(str(emb)), ROOM, cache) as store:
        owners = {"a": "P2", "b": "P0", "c": "P1", "d": "P2"}
        bags = bags_of(store, owners)
        assert (bags.ids, bags.empty) == (("P1", "P2"), ("P0",))
        assert bags.sizes.tolist() == [5, 5]
        assert bags.slide_of_tiles(1).tolist() == ["a"] * 3 + ["d"] * 2
        batch = Packer(bags).pack([1, 0])
        assert batch.offsets.tolist() == [0, 5, 10]
        expected = np.concatenate([rows(3, 0).vectors, rows(2, 7).vectors, rows(5, 2).vectors])
        assert np.array_equal(batch.features.numpy(), expected.astype(np.float32))
        assert np.array_equal(store.vectors[bags.rows(1)], expected[:5])
        with pytest.raises(RequestError, match=r"2 slide\(s\) have no embeddings: x, y"):
            bags_of(store, {"x": "P", "y": "P", "a": "P"})


def test_a_sample_of_a_bag_is_seeded_ordered_and_another_at_every_draw(
    emb: Path, cache: Path
) -> None:
    put(emb, "a", 500)
    with open_bag_store(find_bag_files(str(emb)), ROOM, cache) as store:
        bags = bags_of(store)

        def sample(draw: int, seed: int = 0) -> list[list[float]]:
            packer = Packer(bags, most_tiles=100, seed=seed)
            batch = packer.pack([0, 1], draw)
            assert batch.offsets.tolist() == [0, 100, 105]
            return batch.features[:100].tolist()

        whole = store.vectors[:500].astype(np.float32).tolist()
        one = sample(0)
        places = [whole.index(row) for row in one]
        assert places == sorted(set(places))
        assert one == sample(0)
        assert one != sample(1)
        assert one != sample(0, seed=1)


def test_batches_come_in_the_asked_type_from_one_buffer(emb: Path, cache: Path) -> None:
    with open_bag_store(find_bag_files(str(emb)), ROOM, cache) as store:
        packer = Packer(bags_of(store), torch.bfloat16)
        first, second = packer.batches([[1], [0]])
        assert (first.features.dtype, first.bags, second.bags) == (torch.bfloat16, (1,), (0,))
        assert first.features.data_ptr() == second.features.data_ptr()


def test_a_packer_that_validated_trains(emb: Path, cache: Path) -> None:
    with open_bag_store(find_bag_files(str(emb)), ROOM, cache) as store:
        packer = Packer(bags_of(store))
        with torch.inference_mode():
            packer.pack([0, 1])
        weight = torch.ones(4, requires_grad=True)
        (packer.pack([0]).features @ weight).sum().backward()
        assert weight.grad is not None


def test_a_step_is_split_into_passes_that_fit() -> None:
    sizes = [5, 3, 9, 1, 1]
    assert split_by_tiles([0, 1, 2, 3, 4], sizes, 8) == [[0, 1], [2], [3, 4]]
