"""`pathray embed` on a real Ray: one object a slide, the same from slides and from shards."""

import json
from pathlib import Path

import numpy as np
import openslide
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pathray.embeddings import read_embeddings
from pathray.encoders import load_encoder

MEAN_RGB = ("--encoder", "mean_rgb", "--mpp", "0.5")
TINY = ("--encoder", "timm/vit_tiny_patch16_224", "--random-init", "--precision", "fp32")


def objects_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("[!_]*.parquet")}


def test_an_object_says_what_it_is_to_plain_pyarrow(pathray, slides, tmp_path):
    out = tmp_path / "out"
    assert pathray("embed", "--slides", slides, "--out", out, *MEAN_RGB).code == 0
    for path in out.glob("[!_]*.parquet"):
        table = pq.read_table(path)
        assert table.schema.field("embedding").type == pa.list_(pa.float16(), 6)
        assert [f"{f.name} {f.type}" for f in table.schema][:3] == [
            "x int32",
            "y int32",
            "tissue float",
        ]
        order = list(zip(table["y"].to_pylist(), table["x"].to_pylist(), strict=True))
        assert order == sorted(set(order))
        metadata = json.loads(table.schema.metadata[b"pathray"])
        assert len(metadata["identity"]["encoder_digest"]) == 64
        assert metadata["provenance"]["encoder"] == "mean_rgb"
        assert metadata["provenance"]["tiles"] == table.num_rows
    assert not list((out / "_staging").rglob("*.parquet"))


def test_embeddings_are_the_encoder_run_by_hand(pathray, shared, tmp_path):
    slide = shared / "data" / "slides" / "CMU-1-Small-Region.svs"
    ran = pathray(
        "embed", "--slides", slide, "--out", tmp_path, *TINY, "--mpp", "native", "--batch-size", "8"
    )
    assert ran.code == 0, ran
    held = read_embeddings(str(tmp_path / f"{slide.stem}.parquet"))
    reference = openslide.OpenSlide(str(slide))
    tiles = np.stack(
        [
            np.asarray(reference.read_region((int(x), int(y)), 0, (224, 224)).convert("RGB"))
            for x, y in zip(held.x, held.y, strict=True)
        ]
    )
    theirs = load_encoder("timm/vit_tiny_patch16_224", random_init=True, precision="fp32")(tiles)
    mine = held.vectors.astype(np.float32)
    cosine = (mine * theirs).sum(1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
    assert len(mine) > 20
    assert cosine.min() > 0.9999


def test_slides_and_their_lossless_shards_embed_the_same(pathray, slides, tmp_path):
    tiles, direct, staged = tmp_path / "tiles", tmp_path / "direct", tmp_path / "staged"
    assert (
        pathray("tile", "--slides", slides, "--out", tiles, "--mpp", "0.5", "--lossless").code == 0
    )
    assert pathray("embed", "--slides", slides, "--out", direct, *MEAN_RGB).code == 0
    assert pathray("embed", "--tiles", tiles, "--out", staged, "--encoder", "mean_rgb").code == 0
    assert objects_of(direct).keys() == objects_of(staged).keys()
    for name in objects_of(direct):
        mine, theirs = read_embeddings(str(direct / name)), read_embeddings(str(staged / name))
        np.testing.assert_array_equal(mine.vectors, theirs.vectors)
        np.testing.assert_array_equal(mine.x, theirs.x)
        assert mine.metadata.provenance == theirs.metadata.provenance


def test_a_rerun_resumes_from_objects_and_staged_pieces(pathray, slides, tmp_path):
    out = tmp_path / "out"
    flags = ("embed", "--slides", slides, "--out", out, *MEAN_RGB)
    assert pathray(*flags).code == 0
    before = objects_of(out)
    lost = sorted(out.glob("[!_]*.parquet"))[0]
    lost.unlink()
    assert pathray(*flags).code == 0
    assert objects_of(out) == before
    again = pathray(*flags)
    assert "2 of them before this run" in again.out


def test_a_slide_without_tissue_is_an_object_of_no_rows(pathray, slides, tmp_path):
    from pathray.slides.pyramid import write_pyramid

    write_pyramid(slides / "glass.tif", np.full((1500, 1500, 3), 243, np.uint8), 0.5)
    tiles, out, staged = tmp_path / "tiles", tmp_path / "out", tmp_path / "staged"
    assert pathray("embed", "--slides", slides, "--out", out, *MEAN_RGB).code == 0
    held = read_embeddings(str(out / "glass.parquet"))
    assert held.vectors.shape == (0, 6)
    assert pathray("tile", "--slides", slides, "--out", tiles, "--mpp", "0.5").code == 0
    assert pathray("embed", "--tiles", tiles, "--out", staged, "--encoder", "mean_rgb").code == 0
    assert read_embeddings(str(staged / "glass.parquet")).vectors.shape == (0, 6)


def test_another_encoder_is_refused_by_name(pathray, slides, tmp_path):
    out = tmp_path / "out"
    assert pathray("embed", "--slides", slides, "--out", out, *MEAN_RGB).code == 0
    refused = pathray("embed", "--slides", slides, "--out", out, *TINY, "--mpp", "0.5")
    assert refused.code == 2
    assert "encoder_digest" in refused.err


@pytest.mark.parametrize("name", ["beeph", "timm/vit_tinyy", "no/such/folder"])
def test_an_unknown_encoder_is_one_line(pathray, slides, tmp_path, name):
    refused = pathray("embed", "--slides", slides, "--out", tmp_path / "o", "--encoder", name)
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_both_sources_or_none_are_refused(pathray, slides, tmp_path):
    none = pathray("embed", "--out", tmp_path / "o", "--encoder", "mean_rgb")
    assert none.code == 2
    assert "--slides or --tiles" in none.err


def test_tile_flags_with_shards_are_refused(pathray, tmp_path):
    refused = pathray(
        "embed",
        "--tiles",
        tmp_path,
        "--out",
        tmp_path / "o",
        "--encoder",
        "mean_rgb",
        "--tile-size",
        "256",
    )
    assert refused.code == 2
    assert "--tile-size" in refused.err


def test_a_folder_without_shards_is_named(pathray, tmp_path):
    refused = pathray(
        "embed", "--tiles", tmp_path, "--out", tmp_path / "o", "--encoder", "mean_rgb"
    )
    assert refused.code == 2
    assert "holds no tile shards" in refused.err
