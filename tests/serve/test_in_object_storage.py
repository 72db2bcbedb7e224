"""Slides, embeddings and results in S3: what was predicted stays, what was begun is finished."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from process import Running, serving
from servers import Bucket, moto
from serving import free_port, wait_until
from small_service import config_of

from pathray.client import ServiceError
from pathray.embeddings import Embeddings, write_embeddings
from pathray.encoders import load_encoder
from pathray.metadata import Metadata
from pathray.slides.pyramid import write_pyramid
from pathray.synthetic_slide import MPP, SlideRecipe, draw_slide
from serve.keys import new_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KEY = new_key()
PIECE = 512
"""Tiles of a piece: `LARGE` has more, so that a crash finds one kept and one under way."""
SMALL = SlideRecipe(2000, 1600, density=3000, gland_share=0.3, tissue_share=0.5, pen=None)
LARGE = SlideRecipe(8000, 7000, density=300, gland_share=0.3, tissue_share=0.9, pen=None)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """A bucket with two slides, one of two pieces, on a server that lives through the crash."""
    with moto(tmp_path_factory.mktemp("moto")) as server:
        bucket = Bucket(server, "hospital", server.client())
        bucket.client.create_bucket(Bucket=bucket.name)
        path = tmp_path_factory.mktemp("drawn") / "slide.tif"
        for name, recipe in (("small", SMALL), ("large", LARGE)):
            write_pyramid(path, draw_slide(recipe, np.random.default_rng(1))[0], MPP)
            bucket.put(f"slides/{name}.tif", path)
        bucket.put("slides-of-others/small.tif", path)
        yield bucket


@pytest.fixture(scope="module")
def config(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    places = {
        "slides": [bucket.uri("slides")],
        "embeddings": [bucket.uri("embeddings")],
        "results": bucket.uri("results"),
    }
    folder = tmp_path_factory.mktemp("models")
    return config_of(folder, KEY, free_port(), **places)


def test_predictions_outlive_the_service_and_a_job_goes_on_where_it_stopped(
    bucket: Bucket, config: dict[str, Any], tmp_path: Path
) -> None:
    environment = bucket.server.environment()
    with serving(config, tmp_path, KEY, **environment) as before:
        asked = before.client().predict_slide(bucket.uri("slides/small.tif"), "survival")
        record = before.client().wait(asked["id"], 120, every=0.2)
        seen = look_at(before, record)

        unfinished = before.client().predict_slide(bucket.uri("slides/large.tif"), "subtype")["id"]
        first_piece = f"results/work/{unfinished}/00000.npz"
        wait_until(lambda: first_piece in bucket.objects("results/work/"), 120)
        before.crash()
    assert f"results/queue/{unfinished}.json" in bucket.objects("results/queue/")

    with serving(config, tmp_path, KEY, **environment) as after:
        assert after.client().prediction(record["id"]) == record
        assert look_at(after, record) == seen
        finished = after.client().wait(unfinished, 180, every=0.5)
        assert finished["result"]["tiles"] > PIECE
        look_at(after, finished)
        predict_from_embeddings(after, bucket, tmp_path / "a.parquet")
        with pytest.raises(ServiceError, match="403"):
            after.client().predict_slide(bucket.uri("slides-of-others/small.tif"), "subtype")
    # The piece that was there was not made again, and nothing is left over.
    assert puts(bucket, first_piece) == 1
    assert puts(bucket, f"results/work/{unfinished}/00001.npz") == 1
    for folder in ("queue", "leases", "work"):
        assert not bucket.objects(f"results/{folder}/")


def look_at(service: Running, record: dict[str, Any]) -> list[bytes]:
    """Heatmap, most attended tile and squares of slide and heatmap, as pictures."""
    path = f"v1/predictions/{record['id']}"
    deepest = int(np.ceil(np.log2(max(record["slide"]["width"], record["slide"]["height"]))))
    links = [
        record["links"]["heatmap"],
        record["result"]["top_tiles"][0]["image"],
        f"{path}/slide_files/{deepest}/2_2.jpeg",
        f"{path}/heatmap_files/{deepest}/2_2.png",
    ]
    pictures = []
    for link in links:
        answer = requests.get(
            f"{service.url}/{link}", headers={"Authorization": f"Bearer {KEY}"}, timeout=60
        )
        assert answer.status_code == 200, (link, answer.text)
        Image.open(io.BytesIO(answer.content)).verify()
        pictures.append(answer.content)
    return pictures


def predict_from_embeddings(service: Running, bucket: Bucket, path: Path) -> None:
    """An object of `embed` in the bucket gives the prediction of its vectors in a body."""
    vectors = np.random.default_rng(2).random((30, 6)).astype(np.float16)
    x, y = np.arange(30, dtype=np.int32) * 224, np.zeros(30, np.int32)
    digest = load_encoder("mean_rgb").digest
    identity = {"encoder_digest": digest, "tile_size": 224, "mpp": 0.5, "precision": "fp32"}
    meta = Metadata(identity, {"side0": 224, "encoder": "mean_rgb"})
    write_embeddings(path, [Embeddings(x, y, np.ones(30, np.float32), vectors, meta)], 6, meta)
    bucket.put("embeddings/a.parquet", path)
    client = service.client()
    by_uri = client.predict_embeddings("survival", bucket.uri("embeddings/a.parquet"))
    given = client.predict("survival", vectors, digest)
    assert by_uri["survival"] == given["survival"]
    assert by_uri["top_tiles"][0]["x"] == given["top_tiles"][0]["index"] * 224


def puts(bucket: Bucket, key: str) -> int:
    """How often an object was written."""
    log = re.sub("\x1b\\[[0-9]*m", "", bucket.server.log.read_text())
    return log.count(f'"PUT /{bucket.name}/{key} HTTP/1.1" 200')
