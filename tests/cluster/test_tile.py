"""`pathray tile` on a real Ray: contracts of the shards, and what goes wrong alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import openslide
import pyarrow.parquet as pq

from pathray.tilestore import read_shard


def index_of(out: Path) -> dict[str, dict]:
    return {row["slide_id"]: row for row in pq.read_table(out / "_index.parquet").to_pylist()}


def shards_of(out: Path, slide_id: str) -> list[Path]:
    return sorted(out.glob(f"{slide_id}-[0-9]*.parquet"))


def test_tiles_are_what_openslide_reads_at_their_coordinates(pathray, shared, tmp_path):
    slide = shared / "data" / "slides" / "CMU-1-Small-Region.svs"
    assert (
        pathray(
            "tile",
            "--slides",
            slide,
            "--out",
            tmp_path,
            "--mpp",
            "native",
            "--lossless",
            "--min-tissue",
            "0.2",
            "--tile-size",
            "200",
        ).code
        == 0
    )
    reference = openslide.OpenSlide(str(slide))
    (path,) = shards_of(tmp_path, slide.stem)
    shard = read_shard(str(path))
    assert len(shard.images) > 50
    from pathray.tilestore import decode_image

    for x, y, image in zip(shard.x, shard.y, shard.images, strict=True):
        theirs = np.asarray(reference.read_region((x, y), 0, (200, 200)).convert("RGB"))
        np.testing.assert_array_equal(decode_image(image), theirs)


def test_shards_say_what_they_are_to_plain_pyarrow(pathray, slides, tmp_path):
    out = tmp_path / "out"
    assert pathray("tile", "--slides", slides, "--out", out, "--mpp", "0.5").code == 0
    for path in out.glob("*-[0-9]*.parquet"):
        schema = pq.read_schema(path)
        assert [f"{f.name} {f.type}" for f in schema] == [
            "slide_id string",
            "patient_id string",
            "x int32",
            "y int32",
            "tissue float",
            "image binary",
        ]
        metadata = json.loads(schema.metadata[b"pathray"])
        assert metadata["identity"]["tile_size"] == 224
        assert metadata["provenance"]["side0"] == 224
        assert "level-0" in metadata["provenance"]["coordinates"]
        table = pq.read_table(path)
        order = list(zip(table["y"].to_pylist(), table["x"].to_pylist(), strict=True))
        assert order == sorted(order)


def test_a_rerun_resumes_and_changes_nothing(pathray, slides, tmp_path):
    out = tmp_path / "out"
    flags = ("tile", "--slides", slides, "--out", out, "--mpp", "0.5")
    assert pathray(*flags).code == 0
    before = {path: path.stat().st_mtime_ns for path in out.glob("*-[0-9]*.parquet")}
    again = pathray(*flags)
    assert again.code == 0
    assert "2 of them before this run" in again.out
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*-[0-9]*.parquet")}


def test_a_rerun_redoes_just_the_missing_pieces(pathray, shared, tmp_path):
    out = tmp_path / "out"
    flags = ("tile", "--slides", shared / "data" / "slides" / "arachnoid-cyst-HE.svs", "--out", out)
    assert pathray(*flags).code == 0
    first, *others = shards_of(out, "arachnoid-cyst-HE")
    content = first.read_bytes()
    first.unlink()
    before = {path: path.stat().st_mtime_ns for path in others}
    assert others
    assert pathray(*flags).code == 0
    assert first.read_bytes() == content
    assert before == {path: path.stat().st_mtime_ns for path in others}


def test_a_changed_setting_is_named_and_nothing_is_touched(pathray, slides, tmp_path):
    out = tmp_path / "out"
    assert pathray("tile", "--slides", slides, "--out", out, "--mpp", "0.5").code == 0
    changed = pathray("tile", "--slides", slides, "--out", out, "--mpp", "0.5", "--seed", "7")
    assert changed.code == 2
    assert "seed is 0 there and 7 now" in changed.err
    assert len(changed.err.splitlines()) == 1


def test_a_changed_source_fails_its_slide_by_name(pathray, slides, tmp_path):
    out = tmp_path / "out"
    flags = ("tile", "--slides", slides, "--out", out, "--mpp", "0.5")
    assert pathray(*flags).code == 0
    changed = sorted(slides.iterdir())[0]
    with changed.open("ab") as file:
        file.write(b"\0" * 100)
    again = pathray(*flags)
    assert again.code == 1
    assert f"failed  {changed.stem}: the slide changed" in again.out
    statuses = {slide_id: row["status"] for slide_id, row in index_of(out).items()}
    assert sorted(statuses.values()) == ["done", "failed"]
    assert statuses[changed.stem] == "failed"


def test_bad_slides_fail_alone_and_are_tried_again(pathray, slides, tmp_path):
    good = sorted(slides.iterdir())
    (slides / "text.svs").write_text("this is no slide\n")
    (slides / "truncated.tif").write_bytes(good[0].read_bytes()[:200_000])
    out = tmp_path / "out"
    flags = ("tile", "--slides", slides, "--out", out, "--mpp", "0.5")
    first = pathray(*flags)
    assert first.code == 1
    index = index_of(out)
    assert {row["slide_id"] for row in index.values() if row["status"] == "failed"} == {
        "text",
        "truncated",
    }
    assert all(index[path.stem]["status"] == "done" for path in good)
    assert "OpenSlide cannot open it" in index["text"]["error"]
    shutil.copy(good[0], slides / "truncated.tif")
    (slides / "text.svs").unlink()
    assert pathray(*flags).code == 0
    assert index_of(out)["truncated"]["status"] == "done"


def test_a_slide_without_mpp_fails_unless_it_is_assumed(pathray, shared, tmp_path):
    slide = shared / "data" / "slides" / "TCGA-CR-7395-01A-01-TS1.svs"
    refused = pathray("tile", "--slides", slide, "--out", tmp_path / "a")
    assert refused.code == 1
    assert "--assume-mpp" in refused.out
    given = pathray("tile", "--slides", slide, "--out", tmp_path / "b", "--assume-mpp", "0.25")
    assert given.code == 0
    assert index_of(tmp_path / "b")[slide.stem]["n_tiles"] > 0


def test_a_slide_of_pure_glass_is_empty(pathray, slides, tmp_path):
    from pathray.slides.pyramid import write_pyramid

    write_pyramid(slides / "glass.tif", np.full((1500, 1500, 3), 243, np.uint8), 0.5)
    assert pathray("tile", "--slides", slides, "--out", tmp_path / "o", "--mpp", "0.5").code == 0
    assert index_of(tmp_path / "o")["glass"]["status"] == "empty"


def test_a_slide_that_kills_its_process_fails_alone(pathray, slides, tmp_path):
    good = sorted(slides.iterdir())
    shutil.copy(good[0], slides / "kills.tif")
    out = tmp_path / "out"
    ended = pathray("tile", "--slides", f"killer://{slides}", "--out", out, "--mpp", "0.5")
    assert ended.code == 1
    index = index_of(out)
    assert index["kills"]["status"] == "failed"
    assert "killed 3 times" in index["kills"]["error"]
    assert all(index[path.stem]["status"] == "done" for path in good)


def test_a_preview_is_drawn_for_every_slide(pathray, slides, tmp_path):
    shown = tmp_path / "shown"
    assert (
        pathray(
            "tile", "--slides", slides, "--out", tmp_path / "o", "--mpp", "0.5", "--preview", shown
        ).code
        == 0
    )
    assert {path.stem for path in shown.glob("*.png")} == {path.stem for path in slides.iterdir()}


def test_the_sample_of_tiles_follows_from_the_seed(pathray, slides, tmp_path):
    def corners(seed: int, out: Path) -> list:
        assert (
            pathray(
                "tile",
                "--slides",
                slides,
                "--out",
                out,
                "--mpp",
                "0.5",
                "--tiles-per-slide",
                "9",
                "--seed",
                seed,
            ).code
            == 0
        )
        shards = [read_shard(str(path)) for path in sorted(out.glob("*-[0-9]*.parquet"))]
        return [(int(x), int(y)) for s in shards for x, y in zip(s.x, s.y, strict=True)]

    first = corners(1, tmp_path / "a")
    assert len(first) == 18
    assert first == corners(1, tmp_path / "b")
    assert first != corners(2, tmp_path / "c")


def test_an_out_that_cannot_be_written_is_named(pathray, slides, tmp_path):
    inside_a_file = sorted(slides.iterdir())[0] / "out"
    refused = pathray("tile", "--slides", slides, "--out", inside_a_file)
    assert refused.code == 2
    assert str(inside_a_file) in refused.err
    assert len(refused.err.splitlines()) == 1


def test_a_foreign_out_is_left_alone(pathray, slides, tmp_path):
    (tmp_path / "thesis.doc").write_text("mine")
    refused = pathray("tile", "--slides", slides, "--out", tmp_path)
    assert refused.code == 2
    assert "did not write" in refused.err
