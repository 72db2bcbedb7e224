"""Slides in S3 are read by ranges, or spooled whole with their companions."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
from conftest import Command, moto_only, rclone_only
from servers import Bucket

EVERYTHING = ("--mpp", "native", "--tissue", "all", "--min-tissue", "0", "--tiles-per-slide", "20")


def _put_folder(bucket: Bucket, folder: Path, prefix: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.put(f"{prefix}/{path.relative_to(folder)}", path)


@moto_only
def test_slides_that_need_a_local_file_are_spooled_within_the_cache_and_used_again(
    bucket: Bucket, pathray: Command, ndpi_slide: Path, dicom_slide: Path, tmp_path: Path
) -> None:
    slides, roomy, narrow = tmp_path / "slides", tmp_path / "roomy", tmp_path / "narrow"
    shutil.copytree(dicom_slide, slides / "dicom")
    shutil.copy(ndpi_slide, slides / "slide.ndpi")
    _put_folder(bucket, slides, "slides")
    local = pathray("tile", "--slides", str(slides), "--out", str(tmp_path / "out"), *EVERYTHING)
    spooled = ("tile", "--slides", bucket.uri("slides"), *EVERYTHING)
    remote = pathray(*spooled, "--out", bucket.uri("out"), "--cache-dir", str(roomy))
    assert (local.code, remote.code) == (0, 0), local.text + remote.text

    store = bucket.server.filesystem()
    made = sorted(path.name for path in (tmp_path / "out").glob("*.parquet") if path.name[0] != "_")
    assert len(made) == 2
    for name in made:
        theirs = pq.read_table(store.open_input_file(f"{bucket.name}/out/{name}"))
        assert theirs.num_rows == 20
        assert theirs.equals(pq.read_table(tmp_path / "out" / name))

    # Both slides are in the cache: another job downloads neither.
    files = [f"slides/{path.relative_to(slides)}" for path in slides.rglob("*") if path.is_file()]
    assert [bucket.fetches(file, whole=True) for file in files] == [1] * len(files)
    again = pathray(*spooled, "--out", bucket.uri("again"), "--cache-dir", str(roomy))
    assert again.code == 0, again.text
    assert [bucket.fetches(file, whole=True) for file in files] == [1] * len(files)

    # A cache with room for one of them gives up the other.
    cache = ("--cache-dir", str(narrow), "--cache-gb", "0.004")
    small = pathray(*spooled, "--out", bucket.uri("small"), *cache)
    assert small.code == 0, small.text
    held = sum(path.stat().st_size for path in narrow.rglob("*") if path.is_file())
    assert 0 < held <= 4_000_000
    assert len(bucket.shards("small/")) == 2


@rclone_only
def test_a_sample_of_a_large_slide_fetches_a_small_part_of_it(
    bucket: Bucket, pathray: Command, shared: Path
) -> None:
    slide = shared / "data" / "slides" / "arachnoid-cyst-HE.svs"
    bucket.put("slides/large.svs", slide)
    done = pathray(
        *("tile", "--slides", bucket.uri("slides/large.svs"), "--out", bucket.uri("out")),
        *("--mpp", "native", "--tiles-per-slide", "64"),
    )
    assert done.code == 0, done.text
    store = bucket.server.filesystem()
    [row] = pq.read_table(store.open_input_file(f"{bucket.name}/out/_index.parquet")).to_pylist()
    assert (row["reader"], row["n_tiles"]) == ("tiff", 64)
    assert 0 < row["bytes_read"] < slide.stat().st_size / 10
