"""A rerun over S3 does what is left to do, and nothing else."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import Command, moto_only
from servers import Bucket

FLAGS = ("--mpp", "native")
FEW = (*FLAGS, "--tiles-per-slide", "30")


def _index(bucket: Bucket, out: str) -> dict[str, dict[str, object]]:
    with bucket.server.filesystem().open_input_file(f"{bucket.name}/{out}/_index.parquet") as file:
        return {row["slide_id"]: row for row in pq.read_table(file).to_pylist()}


@pytest.mark.parametrize("job", [("tile",), ("embed", "--encoder", "mean_rgb")], ids=lambda j: j[0])
@moto_only
def test_a_rerun_reads_and_writes_no_finished_slide(
    bucket: Bucket, pathray: Command, real_slide: Path, drawn_slide: Path, job: tuple[str, ...]
) -> None:
    for slide in (real_slide, drawn_slide):
        bucket.put(f"slides/{slide.name}", slide)
    command = (*job, "--slides", bucket.uri("slides"), "--out", bucket.uri("out"), *FEW)
    assert pathray(*command).code == 0
    objects = bucket.shards("out/")
    statuses = bucket.objects("out/_status/")
    fetched = bucket.fetches(f"slides/{real_slide.name}")
    assert fetched > 0

    again = pathray(*command)
    assert again.code == 0, again.text
    assert bucket.shards("out/") == objects
    assert bucket.objects("out/_status/") == statuses
    assert bucket.fetches(f"slides/{real_slide.name}") == fetched


def test_a_lost_shard_is_made_again_with_the_same_bytes(
    bucket: Bucket, pathray: Command, real_slide: Path
) -> None:
    bucket.put(f"slides/{real_slide.name}", real_slide)
    # Large tiles make several pieces of a small slide.
    flags = (*FLAGS, "--tile-size", "512", "--stride", "128", "--min-tissue", "0.1")
    command = ("tile", "--slides", bucket.uri("slides"), "--out", bucket.uri("out"), *flags)
    assert pathray(*command).code == 0
    before = bucket.shards("out/")
    assert len(before) > 1
    lost = max(before)
    bucket.client.delete_object(Bucket=bucket.name, Key=lost)

    again = pathray(*command)
    assert again.code == 0, again.text
    after = bucket.shards("out/")
    kept = set(before) - {lost}
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert after[lost][0] == before[lost][0]  # the ETag is the MD5 of the bytes


def test_a_changed_source_is_an_error_that_names_the_slide(
    bucket: Bucket, pathray: Command, drawn_slide: Path, real_slide: Path
) -> None:
    bucket.put("slides/case.tif", drawn_slide)
    command = ("tile", "--slides", bucket.uri("slides"), "--out", bucket.uri("out"), *FEW)
    assert pathray(*command).code == 0
    before = bucket.shards("out/")
    bucket.put("slides/case.tif", real_slide)

    again = pathray(*command)
    assert again.code == 1, again.text
    assert "case" in again.text
    assert "changed since" in again.text
    assert bucket.shards("out/") == before
    assert _index(bucket, "out")["case"]["status"] == "failed"


def test_a_failed_slide_is_tried_again(bucket: Bucket, pathray: Command, drawn_slide: Path) -> None:
    bucket.put("slides/good.tif", drawn_slide)
    bucket.put("slides/torn.tif", drawn_slide.read_bytes()[:5000])
    flags = ("--slides", bucket.uri("slides"), "--out", bucket.uri("out"), *FEW)
    first = pathray("embed", "--encoder", "mean_rgb", *flags)
    assert first.code == 1, first.text
    assert "torn" in first.text
    assert json.loads(bucket.read("out/_status/torn.json"))["status"] == "failed"
    good = bucket.shards("out/")
    assert list(good) == ["out/good.parquet"]

    bucket.put("slides/torn.tif", drawn_slide)
    second = pathray("embed", "--encoder", "mean_rgb", *flags)
    assert second.code == 0, second.text
    after = bucket.shards("out/")
    assert after["out/good.parquet"] == good["out/good.parquet"]
    assert {row["status"] for row in _index(bucket, "out").values()} == {"done"}
