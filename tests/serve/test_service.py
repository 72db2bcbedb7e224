"""The API on a real Serve instance, through the client, as an application would use it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from serving import wait_until

from pathray.client import ServiceError
from pathray.encoders import load_encoder
from pathray.slidemodel import load_slide_model
from pathray.tilestore import PNG, encode_image


def tiles_of(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 224, 224, 3), np.uint8)


def test_it_says_what_it_is(service: Any) -> None:
    client = service.client()
    assert client.ready()
    assert client.encoders()[0]["name"] == "mean_rgb"
    models = {model["name"]: model for model in client.models()}
    assert models["subtype"]["task"] == "classification"
    assert models["survival"]["task"] == "survival"
    assert all(model["usable"] for model in models.values())


def test_online_embeddings_are_those_of_the_batch_jobs(service: Any) -> None:
    tiles = tiles_of(20)
    expected = load_encoder("mean_rgb")(tiles).astype(np.float16)
    np.testing.assert_array_equal(service.client().embed(tiles), expected)
    images = [encode_image(tile, PNG) for tile in tiles]
    np.testing.assert_array_equal(service.client().embed(images), expected)


def test_a_slide_is_predicted_with_progress_and_pictures(service: Any) -> None:
    client = service.client()
    slide = str(service.folder / "slides" / "one.tif")
    job = client.predict_slide(slide, "subtype")
    seen: list[str] = []
    record = client.wait(job["id"], every=0.1, progress=lambda r: seen.append(r["status"]))
    assert seen[-1] == "done"
    assert record["result"]["classification"]["predicted"] in ("glandular", "solid")
    assert client.heatmap(job["id"]).startswith(b"\x89PNG")
    assert record["id"] in [r["id"] for r in client.predictions()["items"]]
    square = requests.get(
        f"{service.url}/v1/predictions/{job['id']}/slide_files/11/0_0.jpeg",
        headers={"Authorization": f"Bearer {service.key}"},
        timeout=30,
    )
    assert square.headers["content-type"] == "image/jpeg"


def test_predicting_embeddings_is_the_librarys_prediction(service: Any) -> None:
    vectors = np.random.default_rng(1).random((50, 6)).astype(np.float16)
    model = load_slide_model(str(service.folder / "models" / "survival"))
    expected = model.predict(vectors)
    told = service.client().predict("survival", vectors, load_encoder("mean_rgb").digest)
    assert expected.risks is not None
    assert told["survival"]["heads"] == pytest.approx(expected.risks.tolist(), abs=1e-6)


def test_strangers_stay_out(service: Any, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="401"):
        service.client().__class__(service.url).models()
    with pytest.raises(ServiceError, match="403"):
        service.client().predict_slide("/etc/passwd", "subtype")


def test_a_body_that_is_too_long_is_refused(service: Any) -> None:
    answer = requests.post(
        f"{service.url}/v1/embed",
        data=b"x" * 65_000_000,
        headers={"Authorization": f"Bearer {service.key}", "Content-Type": "application/x-npy"},
        timeout=60,
    )
    assert answer.status_code == 413
    assert answer.json()["detail"] == "a body may have 64 MB"


def test_a_body_that_does_not_say_its_length_is_counted_while_it_comes(service: Any) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 1_000_000

    answer = requests.post(
        f"{service.url}/v1/embed",
        data=endless(),
        headers={"Authorization": f"Bearer {service.key}", "Content-Type": "application/x-npy"},
        timeout=60,
    )
    assert answer.status_code == 413


def test_metrics_count_requests_by_route_tiles_batches_and_predictions(service: Any) -> None:
    client = service.client()
    client.embed(tiles_of(3))
    slide = str(service.folder / "slides" / "one.tif")
    client.wait(client.predict_slide(slide, "survival")["id"], every=0.1)
    headers = {"Authorization": f"Bearer {service.key}"}

    def value(name: str, *labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        answer = requests.get(f"{service.url}/metrics", headers=headers, timeout=30)
        assert answer.status_code == 200
        lines = [line for line in answer.text.splitlines() if line.startswith(f"{name}{{")]
        return sum(float(x.split()[-1]) for x in lines if all(label in x for label in labels))

    wait_until(lambda: value("ray_pathray_slide_predictions_total", 'outcome="done"') >= 1)
    wait_until(lambda: value("ray_pathray_tiles_embedded_total") > 3)
    assert value("ray_pathray_batch_room_total") >= value("ray_pathray_tiles_embedded_total")
    embed = ('route="/v1/embed"', 'status_code="200"', 'application="pathray"')
    wait_until(lambda: value("ray_serve_num_http_requests_total", *embed) >= 1)
    assert value("ray_serve_http_request_latency_ms_count", *embed) >= 1
    polled = 'route="/v1/predictions/{id}"'
    assert value("ray_serve_num_http_requests_total", polled) >= 1


def test_the_largest_request_that_is_allowed_is_answered(service: Any) -> None:
    tiles = tiles_of(256)
    expected = load_encoder("mean_rgb")(tiles).astype(np.float16)
    np.testing.assert_array_equal(service.client(attempts=1).embed(tiles), expected)
