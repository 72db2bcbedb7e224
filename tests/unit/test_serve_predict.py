"""Predictions through the API: from embeddings at once, from a slide as a job, and pictures."""

import io
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from serving import (
    application_of,
    browser,
    settings_in,
    wait_until,
    worker_of,
    write_slide,
)
from starlette.testclient import TestClient

import serve.worker
from pathray.embeddings import Embeddings, write_embeddings
from pathray.encoders import load_encoder
from pathray.metadata import Metadata
from pathray.slidemodel import load_slide_model
from serve import leasing
from serve.leasing import Leasing
from serve.results import Job, Lease, Results
from serve.settings import Limits, Settings
from serve.slidejobs import failed
from serve.tiles import NPY

DIGEST = load_encoder("mean_rgb").digest
VECTORS = np.random.default_rng(0).random((40, 6)).astype(np.float16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    write_slide(folder / "slides" / "TCGA-AA-0001.tif")
    (folder / "slides" / "broken.svs").write_bytes(b"no slide")
    return folder


@pytest.fixture(scope="module", autouse=True)
def haste() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leasing, "SETTLE_SECONDS", 0.02)
        patch.setattr(serve.worker, "POLL_SECONDS", 0.05)
        yield


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    return settings_in(folder, limits=Limits(jobs=2, bag_tiles=1000))


@pytest.fixture(scope="module")
def api(settings: Settings, folder: Path) -> Iterator[TestClient]:
    with browser(application_of(settings, folder / "spool")) as client:
        yield client


@pytest.fixture(scope="module")
def done(api: TestClient, settings: Settings, folder: Path) -> dict:
    """The record of a slide's finished prediction."""
    worker = worker_of(settings, folder / "spool")
    slide = str(folder / "slides" / "TCGA-AA-0001.tif")
    asked = api.post("/v1/predict", json={"model": "subtype", "slide": slide})
    assert asked.status_code == 202, asked.text
    path = asked.headers["location"]
    wait_until(lambda: api.get(path).json()["status"] in ("done", "failed"))
    worker.stop()
    record = api.get(path).json()
    assert record["status"] == "done", record
    return record


def npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def test_given_embeddings_are_answered_as_the_library_does(
    api: TestClient, settings: Settings
) -> None:
    expected = load_slide_model(settings.models["subtype"]).predict(VECTORS)
    assert expected.probabilities is not None
    query = {"model": "subtype", "encoder_digest": DIGEST}
    told = api.post(
        "/v1/predict", params=query, content=npy(VECTORS), headers={"Content-Type": NPY}
    ).json()
    by_json = api.post("/v1/predict", json=query | {"embeddings": VECTORS.tolist()}).json()
    assert told == by_json
    classes = told["classification"]["classes"]
    assert [c["name"] for c in classes] == ["glandular", "solid"]
    mean = expected.probabilities.mean(axis=0)
    assert [c["probability"] for c in classes] == pytest.approx(mean.tolist())
    assert all(c["low"] <= c["probability"] <= c["high"] for c in classes)
    assert [t["index"] for t in told["top_tiles"]] == expected.most_attended(12).tolist()
    assert told["model"]["heads"] == 3
    assert told["encoder"]["digest"] == DIGEST


def test_a_survival_model_gives_a_risk_and_the_curve_of_its_heads(
    api: TestClient, settings: Settings
) -> None:
    expected = load_slide_model(settings.models["survival"]).predict(VECTORS)
    assert expected.curves is not None
    asked = {"model": "survival", "encoder_digest": DIGEST, "embeddings": VECTORS.tolist()}
    told = api.post("/v1/predict", json=asked).json()
    assert told["classification"] is None
    survival = told["survival"]
    assert survival["low"] < survival["risk"] < survival["high"]
    curve = survival["curve"]
    assert curve["time"] == [0, 100, 700]
    assert curve["survival"] == sorted(curve["survival"], reverse=True)
    assert curve["survival"] == pytest.approx(expected.curves.mean(axis=0).tolist())
    assert curve["low"] == pytest.approx(expected.curves.min(axis=0).tolist())
    assert curve["high"] == pytest.approx(expected.curves.max(axis=0).tolist())
    assert survival["time_unit"] == "days"


def test_an_object_of_embed_is_answered_with_places(api: TestClient, folder: Path) -> None:
    n = len(VECTORS)
    x, y = np.arange(n, dtype=np.int32) * 224, np.zeros(n, np.int32)
    identity = {"encoder_digest": DIGEST, "tile_size": 224, "mpp": 0.5, "precision": "fp32"}
    meta = Metadata(identity, {"side0": 224, "encoder": "mean_rgb"})
    (folder / "embeddings").mkdir(exist_ok=True)
    where = folder / "embeddings" / "a.parquet"
    write_embeddings(where, [Embeddings(x, y, np.ones(n, np.float32), VECTORS, meta)], 6, meta)
    told = api.post("/v1/predict", json={"model": "subtype", "embeddings_uri": str(where)}).json()
    assert told["top_tiles"][0]["x"] == told["top_tiles"][0]["index"] * 224
    assert told["top_tiles"][0]["side"] == 224
    other = Metadata(identity | {"mpp": 0.25}, {})
    wrong = folder / "embeddings" / "b.parquet"
    write_embeddings(wrong, [Embeddings(x, y, np.ones(n, np.float32), VECTORS, other)], 6, other)
    refused = api.post("/v1/predict", json={"model": "subtype", "embeddings_uri": str(wrong)})
    assert refused.status_code == 422
    assert "mpp differs" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("rows", "status", "told"),
    [(0, 422, "N > 0"), (1001, 413, "1000 are allowed"), (None, 422, "no object of `embed`")],
)
def test_an_object_without_usable_embeddings_is_refused(
    api: TestClient, folder: Path, rows: int | None, status: int, told: str
) -> None:
    where = folder / "embeddings" / f"unusable-{rows}.parquet"
    where.parent.mkdir(exist_ok=True)
    if rows is None:
        where.write_bytes(b"PAR1 and then nothing")
    else:
        identity = {"encoder_digest": DIGEST, "tile_size": 224, "mpp": 0.5}
        meta = Metadata(identity, {"side0": 224})
        place, vectors = np.zeros(rows, np.int32), np.zeros((rows, 6), np.float16)
        written = Embeddings(place, place, place.astype(np.float32), vectors, meta)
        write_embeddings(where, [written], 6, meta)
    asked = {"model": "survival", "embeddings_uri": str(where)}
    answer = api.post("/v1/predict", json=asked)
    assert answer.status_code == status
    assert told in answer.json()["detail"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 422),
        ({"model": "subtype"}, 422),
        ({"model": "subtype", "slide": "/a", "embeddings_uri": "/b"}, 422),
        ({"model": "nothing", "slide": "/a"}, 404),
        ({"model": "subtype", "slide": "/etc/passwd"}, 403),
        ({"model": "subtype", "embeddings_uri": "/etc/passwd"}, 403),
        ({"model": "subtype", "embeddings": [[1, 2]]}, 422),
        ({"model": "subtype", "embeddings": [[1, 2]], "encoder_digest": DIGEST}, 422),
        ({"model": "subtype", "embeddings": [], "encoder_digest": DIGEST}, 422),
        ({"model": "subtype", "embeddings": [[]], "encoder_digest": DIGEST}, 422),
        ({"model": "subtype", "embeddings": [[1], [1, 2]], "encoder_digest": DIGEST}, 422),
        ({"model": "subtype", "embeddings": [[1e300] * 6], "encoder_digest": DIGEST}, 422),
        ({"model": "subtype", "embeddings": [[1] * 6] * 1001, "encoder_digest": DIGEST}, 413),
        ({"model": "subtype", "embeddings": [[1] * 6], "encoder_digest": "other"}, 422),
        ({"model": "subtype", "slide": "/a", "extra": 1}, 422),
        ([], 422),
    ],
)
def test_wrong_requests_are_problems(api: TestClient, asked: object, status: int) -> None:
    answer = api.post("/v1/predict", json=asked)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_missing_slide_is_told_at_once(api: TestClient, folder: Path) -> None:
    asked = {"model": "subtype", "slide": str(folder / "slides" / "none.svs")}
    assert api.post("/v1/predict", json=asked).status_code == 422


def test_a_slides_prediction_is_that_of_its_embeddings(
    done: dict, api: TestClient, settings: Settings
) -> None:
    table = pq.read_table(io.BytesIO(api.get("/" + done["links"]["attention"]).content))
    assert table.num_rows == done["result"]["tiles"] > 5
    top = done["result"]["top_tiles"][0]
    row = int(np.argmax(table["attention"].to_numpy()))
    assert (top["x"], top["y"]) == (table["x"][row].as_py(), table["y"][row].as_py())
    assert top["attention"] == pytest.approx(table["attention"][row].as_py())
    assert done["result"]["model"]["uri"] == settings.models["subtype"]
    assert done["progress"]["tiles_done"] == done["result"]["tiles"]


def test_pictures_of_a_prediction_are_pictures(done: dict, api: TestClient) -> None:
    for link, kind in (("thumbnail", "JPEG"), ("heatmap", "PNG")):
        with Image.open(io.BytesIO(api.get("/" + done["links"][link]).content)) as image:
            assert image.format == kind
            width, height = done["slide"]["width"], done["slide"]["height"]
            assert image.width / image.height == pytest.approx(width / height, rel=0.02)
    tile = api.get("/" + done["result"]["top_tiles"][0]["image"])
    with Image.open(io.BytesIO(tile.content)) as image:
        assert image.size == (224, 224)


def test_slide_and_heatmap_are_deep_zoom_images_of_one_geometry(
    done: dict, api: TestClient
) -> None:
    path = f"/v1/predictions/{done['id']}"
    for name, suffix in (("slide", "jpeg"), ("heatmap", "png")):
        descriptor = api.get(f"{path}/{name}.dzi")
        assert f'Format="{suffix}"' in descriptor.text
        assert f'Width="{done["slide"]["width"]}"' in descriptor.text
        whole = api.get(f"{path}/{name}_files/11/0_0.{suffix}")
        assert whole.status_code == 200
        with Image.open(io.BytesIO(whole.content)) as image:
            assert image.size == (256, 256)
        overview = api.get(f"{path}/{name}_files/0/0_0.{suffix}")
        with Image.open(io.BytesIO(overview.content)) as image:
            assert image.size == (1, 1)
        for wrong in ("12/0_0", "11/99_0", "11/0_99"):
            assert api.get(f"{path}/{name}_files/{wrong}.{suffix}").status_code == 404
        assert api.get(f"{path}/{name}_files/-1/0_0.{suffix}").status_code in (404, 422)


def test_only_slides_of_finished_predictions_have_squares(api: TestClient) -> None:
    nobody = "/v1/predictions/" + "0" * 32
    for rest in ("", "/slide.dzi", "/slide_files/0/0_0.jpeg", "/heatmap.png", "/thumbnail.jpeg"):
        assert api.get(nobody + rest).status_code == 404
    for id in ("..", "%2e%2e", "0" * 31, "0" * 32 + "%00"):
        assert api.get(f"/v1/predictions/{id}/thumbnail.jpeg").status_code in (404, 422)


def test_asking_again_is_the_same_prediction(done: dict, api: TestClient) -> None:
    asked = {"model": "subtype", "slide": done["slide"]["uri"]}
    again = api.post("/v1/predict", json=asked)
    assert again.status_code == 202
    assert again.json() == done
    listed = api.get("/v1/predictions").json()
    assert done["id"] in [record["id"] for record in listed["items"]]


def test_a_slide_that_cannot_be_read_fails_alone_and_is_tried_again(
    api: TestClient, settings: Settings, folder: Path
) -> None:
    ended: list[str] = []
    worker = worker_of(settings, folder / "spool", ended=ended.append)
    asked = {"model": "subtype", "slide": str(folder / "slides" / "broken.svs")}
    id = api.post("/v1/predict", json=asked).json()["id"]
    wait_until(lambda: api.get(f"/v1/predictions/{id}").json()["status"] == "failed")
    assert api.get(f"/v1/predictions/{id}").json()["error"]
    assert api.post("/v1/predict", json=asked).json()["status"] in ("waiting", "running")
    wait_until(lambda: api.get(f"/v1/predictions/{id}").json()["status"] == "failed")
    worker.stop()
    assert ended == ["failed", "failed"]


def test_more_jobs_than_allowed_are_turned_away(
    api: TestClient, settings: Settings, folder: Path
) -> None:
    slides = [write_slide(folder / "slides" / f"many{i}.tif", seed=9) for i in range(3)]
    answers = [
        api.post("/v1/predict", json={"model": "survival", "slide": str(slide)}) for slide in slides
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 503]
    assert answers[2].headers["retry-after"] == "2"
    assert len(api.get("/v1/predictions").json()["under_way"]) == 2
    worker = worker_of(settings, folder / "spool")
    ids = [answer.json()["id"] for answer in answers[:2]]
    wait_until(
        lambda: all(api.get(f"/v1/predictions/{id}").json()["status"] == "done" for id in ids)
    )
    worker.stop()


def test_a_job_of_a_dead_worker_is_taken_over_where_it_stopped(
    settings: Settings, folder: Path, api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "STALE_SECONDS", 0.5)
    slide = write_slide(folder / "slides" / "taken.tif", seed=3)
    asked = api.post("/v1/predict", json={"model": "subtype", "slide": str(slide)})
    id = asked.json()["id"]
    results = Results(str(folder / "results"))
    results.put_lease(id, Lease("a worker that died", attempt=1, beat=4))
    assert api.get(f"/v1/predictions/{id}").json()["status"] == "running"
    worker = worker_of(settings, folder / "spool", "the other")
    wait_until(lambda: api.get(f"/v1/predictions/{id}").json()["status"] == "done")
    worker.stop()
    assert not results.waiting()
    assert results.lease(id) is None
    assert not list((folder / "results" / "work").glob("*/*"))


def test_a_slide_that_kills_its_workers_is_given_up(
    settings: Settings, folder: Path, api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "STALE_SECONDS", 0.2)
    slide = write_slide(folder / "slides" / "killer.tif", seed=4)
    asked = api.post("/v1/predict", json={"model": "subtype", "slide": str(slide)})
    id = asked.json()["id"]
    Results(str(folder / "results")).put_lease(id, Lease("the third", attempt=3))
    ended: list[str] = []
    worker = worker_of(settings, folder / "spool", ended=ended.append)
    wait_until(lambda: api.get(f"/v1/predictions/{id}").json()["status"] == "failed")
    worker.stop()
    assert ended == ["failed"]
    assert "3 workers died" in api.get(f"/v1/predictions/{id}").json()["error"]


def test_of_two_workers_one_takes_a_job_and_a_living_one_keeps_it(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    job = Job("0" * 32, "/a", "a", 1, "v", "m", "/m", "d", "now")
    results.enqueue(job)
    clock = [0.0]
    one, two = (Leasing(results, name, lambda: clock[0]) for name in ("one", "two"))
    taken = one.take()
    assert taken is not None
    lease = taken[1]
    for _ in range(10):  # it beats: never stale, however long it takes
        renewed = one.renew(job.id, lease)
        assert renewed is not None
        lease = renewed
        assert two.take() is None
        clock[0] += leasing.STALE_SECONDS * 2
    taken = two.take()
    assert taken is not None
    assert taken[1].attempt == 2
    assert one.renew(job.id, lease) is None


def test_logs_name_no_slide(
    done: dict, api: TestClient, settings: Settings, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ray.serve.pathray"):
        slide = write_slide(folder / "slides" / "TCGA-ZZ-9999.tif", seed=5)
        worker = worker_of(settings, folder / "spool")
        id = api.post("/v1/predict", json={"model": "subtype", "slide": str(slide)}).json()["id"]
        wait_until(lambda: api.get(f"/v1/predictions/{id}").json()["status"] == "done")
        worker.stop()
        slide.unlink()
        api.post("/v1/predict", json={"model": "subtype", "slide": str(slide)})
        unreadable = api.get(f"/v1/predictions/{id}/slide_files/11/0_0.jpeg")
        assert unreadable.status_code == 502
    assert id in caplog.text
    assert "TCGA" not in caplog.text
    assert json.dumps(done["slide"]["slide_id"]) not in caplog.text


def test_pages_of_predictions_follow_one_another(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    results = Results(str(tmp_path / "results"))
    for number in range(5):
        job = Job(f"{number:032x}", "/a", "a", 1, "v", "m", "/m", "d", "now")
        results.finish(job.id, failed(job, "no").model_dump(mode="json"))
        time.sleep(0.02)
    with browser(application_of(settings, tmp_path)) as api:
        first = api.get("/v1/predictions?limit=2").json()
        second = api.get(f"/v1/predictions?limit=2&after={first['next']}").json()
        third = api.get(f"/v1/predictions?limit=2&after={second['next']}").json()
    pages = [[int(r["id"], 16) for r in page["items"]] for page in (first, second, third)]
    assert pages == [[4, 3], [2, 1], [0]]
    assert third["next"] is None
