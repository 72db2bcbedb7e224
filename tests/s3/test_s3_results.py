"""`tile` and `embed` over S3 make what they make on a local disk, for any Parquet reader."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Command
from servers import Bucket

from pathray import tilestore

TILE = ("--mpp", "native", "--tiles-per-slide", "40")
EMBED = (*TILE, "--encoder", "mean_rgb")
OF_THE_STORE = {"identity": {"source"}, "provenance": {"slide", "time"}}
"""What an object says of the store its slide was in."""


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory, real_slide: Path, drawn_slide: Path) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    for slide in (real_slide, drawn_slide):
        shutil.copy(slide, folder)
    return folder


def _metadata(schema: pa.Schema) -> dict[str, dict[str, object]]:
    """The metadata without what must differ between stores."""
    held = json.loads(schema.metadata[b"pathray"])
    return {
        part: {key: value for key, value in held[part].items() if key not in OF_THE_STORE[part]}
        for part in held
    }


def _assert_equal_but_for_the_store(remote: pq.ParquetFile, local: pq.ParquetFile) -> None:
    assert _metadata(remote.schema_arrow) == _metadata(local.schema_arrow)
    assert remote.metadata.num_row_groups == local.metadata.num_row_groups
    # Cell by cell, bits and not values: images, coordinates, float16 vectors.
    theirs, ours = remote.read().replace_schema_metadata(), local.read().replace_schema_metadata()
    assert theirs.num_rows > 0
    assert _stored_bytes(theirs) == _stored_bytes(ours)


def _stored_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(("job", "flags"), [("tile", TILE), ("embed", EMBED)])
def test_a_run_over_s3_makes_what_a_local_run_makes(
    bucket: Bucket, pathray: Command, slides: Path, tmp_path: Path, job: str, flags: tuple[str, ...]
) -> None:
    for slide in slides.iterdir():
        bucket.put(f"slides/{slide.name}", slide)
    local = pathray(job, "--slides", str(slides), "--out", str(tmp_path / "out"), *flags)
    remote = pathray(job, "--slides", bucket.uri("slides"), "--out", bucket.uri("out"), *flags)
    assert (local.code, remote.code) == (0, 0), local.text + remote.text

    made = sorted(path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "_")
    assert len(made) >= 2
    assert sorted(bucket.shards("out/")) == [f"out/{name}" for name in made]
    store = bucket.server.filesystem()
    for name in made:
        theirs = pq.ParquetFile(store.open_input_file(f"{bucket.name}/out/{name}"))
        _assert_equal_but_for_the_store(theirs, pq.ParquetFile(tmp_path / "out" / name))
        if job == "tile":
            assert theirs.schema_arrow.equals(tilestore.SCHEMA, check_metadata=False)
    assert not bucket.objects("out/_staging/")

    index = pq.read_table(store.open_input_file(f"{bucket.name}/out/_index.parquet")).to_pylist()
    assert [row["status"] for row in index] == ["done", "done"]
    assert all(row["uri"].startswith(bucket.uri("slides/")) for row in index)
