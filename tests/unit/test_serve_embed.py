"""`POST /v1/embed`: every form of tiles, the same numbers as the library, and what is refused."""

import asyncio
import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import application_of, browser, settings_in
from starlette.testclient import TestClient

from pathray.embeddings import to_float16
from pathray.encoders import load_encoder
from pathray.tilestore import JPEG, PNG, decode_image, encode_image
from serve.encoding import TileEncoder
from serve.problem import Problem
from serve.settings import EncoderSettings, Limits
from serve.tiles import NPY, array_in, tiles_in

LIMITS = Limits(tiles=8, image_pixels=300 * 300, request_pixels=5 * 224 * 224)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("serve")
    with browser(application_of(settings_in(folder, limits=LIMITS), folder / "spool")) as client:
        yield client


def tiles_of(n: int, side: int = 224) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, side, side, 3), np.uint8)


def npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def files(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("tiles", (f"{i}.png", image)) for i, image in enumerate(images)]


def test_an_array_gives_the_vectors_of_the_library(api: TestClient) -> None:
    tiles = tiles_of(3)
    expected = load_encoder("mean_rgb")(tiles).astype(np.float16)
    as_npy = api.post("/v1/embed", content=npy(tiles), headers={"Content-Type": NPY, "Accept": NPY})
    assert as_npy.status_code == 200
    np.testing.assert_array_equal(np.load(io.BytesIO(as_npy.content)), expected)
    assert as_npy.headers["x-encoder-digest"] == load_encoder("mean_rgb").digest
    raw = api.post(
        "/v1/embed?shape=3,224,224,3",
        content=tiles.tobytes(),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert raw.json()["encoder"]["name"] == "mean_rgb"
    np.testing.assert_array_equal(np.array(raw.json()["embeddings"], np.float16), expected)


@pytest.mark.parametrize("codec", [JPEG, PNG])
def test_files_give_the_vectors_of_their_pixels(api: TestClient, codec: str) -> None:
    images = [encode_image(tile, codec) for tile in tiles_of(3)]
    answer = api.post("/v1/embed", files=files(*images))
    assert answer.status_code == 200
    pixels = np.stack([decode_image(image) for image in images])
    expected = load_encoder("mean_rgb")(pixels).astype(np.float16)
    np.testing.assert_array_equal(np.array(answer.json()["embeddings"], np.float16), expected)


def test_a_file_may_hold_what_looks_like_a_form() -> None:
    inside = b"\r\n--other\r\n\r\nPNG--x--\r\n"
    image = encode_image(tiles_of(1)[0], PNG) + inside
    body = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + image + b"\r\n--x--\r\n"
    assert tiles_in(body, 'multipart/form-data; boundary="x"', None, LIMITS).shape[0] == 1


@pytest.mark.parametrize(
    ("images", "status", "why"),
    [
        ([png_that_says(100_000, 100_000)], 413, "many pixels|may have"),
        ([png_that_says(301, 301)], 413, "may have"),
        ([png_that_says(60_000, 60_000)], 413, "pixels"),
        ([png_that_says(224, 224)], 422, "cannot be decoded"),
        ([b"GIF89a" + b"\0" * 100], 422, "neither"),
        ([b""], 422, "neither"),
        ([encode_image(tiles_of(1)[0], JPEG)[:-300]], 422, "cannot be decoded"),
        (
            [encode_image(tiles_of(1, 64)[0], PNG), encode_image(tiles_of(1)[0], PNG)],
            422,
            "one size",
        ),
        ([encode_image(tiles_of(1)[0][:100], PNG)], 422, "square"),
        ([encode_image(tiles_of(1, 32)[0], PNG)] * 9, 413, "9 tiles"),
        ([encode_image(tiles_of(1)[0], PNG)] * 6, 413, "pixels"),
    ],
)
def test_hostile_and_broken_images_are_refused(
    api: TestClient, images: list[bytes], status: int, why: str
) -> None:
    answer = api.post("/v1/embed", files=files(*images))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert re.search(why, answer.json()["detail"])


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {"Content-Type": NPY}, 422),
        (npy(tiles_of(1)), {"Content-Type": "text/plain"}, 415),
        (npy(tiles_of(1)), {}, 415),
        (npy(tiles_of(1).astype(np.float32)), {"Content-Type": NPY}, 422),
        (npy(tiles_of(1)[0]), {"Content-Type": NPY}, 422),
        (npy(tiles_of(0)), {"Content-Type": NPY}, 422),
        (npy(tiles_of(1))[:-1], {"Content-Type": NPY}, 422),
        (npy(np.asfortranarray(tiles_of(2))), {"Content-Type": NPY}, 422),
        (b"x" * 10, {"Content-Type": "application/octet-stream"}, 422),
        (b"--x\r\n\r\nabc", {"Content-Type": "multipart/form-data; boundary=x"}, 422),
        (b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 422),
        (b"abc", {"Content-Type": "multipart/form-data"}, 422),
        (npy(tiles_of(1)), {"Content-Type": NPY, "Accept": "image/png"}, 406),
    ],
)
def test_malformed_requests_are_refused(
    api: TestClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = api.post("/v1/embed", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    ("descr", "shape"),
    [
        ("'|u1'", "(-1, 2, 2, 3)"),
        ("'|u1'", "(100000, 30000, 30000, 3)"),
        ("'|u1'", "(4294967296, 4294967296, 1, 3)"),
        ("'|V0'", "(1, 2, 2, 3)"),
        ("'|O'", "(12,)"),
        ("'|u1'", "(True, 2, 2, 3)"),
        ("[('a', '<f8', (1000000000,))]", "(1,)"),
        ("'|u1'", "__import__('os').abort()"),
    ],
)
def test_an_array_whose_header_lies_is_refused(descr: str, shape: str) -> None:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    framed = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with pytest.raises(Problem, match=r"plain \.npy"):
        array_in(framed + b"x" * 12)


def test_an_array_of_objects_is_never_unpickled() -> None:
    sink = io.BytesIO()
    np.save(sink, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Problem, match=r"plain \.npy"):
        array_in(sink.getvalue())


@settings(max_examples=200)
@given(st.binary(max_size=300), st.sampled_from([NPY, "multipart/form-data; boundary=x"]))
def test_any_bytes_are_tiles_or_a_problem(body: bytes, kind: str) -> None:
    framed = body if kind == NPY else b"--x\r\n\r\n" + body + b"\r\n--x--"
    with pytest.raises(Problem) as refused:
        tiles_in(framed, kind, None, LIMITS)
    assert refused.value.status_code in (413, 415, 422)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_header_of_an_array_is_an_array_or_a_problem(body: bytes) -> None:
    framed = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body
    with suppress(Problem):
        array_in(framed)


def test_the_same_tiles_give_the_same_vectors_whoever_asks_with_them(api: TestClient) -> None:
    tiles = tiles_of(4)
    whole = api.post("/v1/embed", content=npy(tiles), headers={"Content-Type": NPY}).json()
    alone = api.post("/v1/embed", content=npy(tiles[1:2]), headers={"Content-Type": NPY}).json()
    assert whole["embeddings"][1] == alone["embeddings"][0]


def test_a_network_gives_the_same_alone_and_in_company() -> None:
    online = EncoderSettings(name="timm/test_vit", random_init=True, precision="fp32", batch_size=8)
    batch = load_encoder("timm/test_vit", random_init=True, precision="fp32")
    tiles = tiles_of(40, batch.spec.tile_size)
    cuts = [(0, 8), (8, 16), (16, 20)]
    expected = to_float16(np.concatenate([batch(tiles[a:b]) for a, b in cuts]))

    passes: list[int] = []

    async def run() -> tuple[list[np.ndarray], np.ndarray]:
        encoder = TileEncoder(online, passes.append)
        alone = await encoder.embed(tiles[:20])
        crowd = await asyncio.gather(*(encoder.embed(tiles[i : i + 3]) for i in range(0, 18, 3)))
        return list(crowd), alone

    crowd, alone = asyncio.run(run())
    np.testing.assert_array_equal(alone, expected)
    assert passes == [8, 8, 4, 8, 8, 2], "each batch is told"
    mixed = np.concatenate(crowd).astype(np.float64)
    same = alone[:18].astype(np.float64)
    norms = np.linalg.norm(mixed, axis=1) * np.linalg.norm(same, axis=1)
    assert ((mixed * same).sum(axis=1) / norms).min() > 0.9999


def test_tiles_of_another_size_are_resized_by_the_encoder(tmp_path: Path, api: TestClient) -> None:
    tiles = tiles_of(2, 112)
    answer = api.post("/v1/embed", content=npy(tiles), headers={"Content-Type": NPY})
    expected = load_encoder("mean_rgb")(tiles).astype(np.float16)
    np.testing.assert_array_equal(np.array(answer.json()["embeddings"], np.float16), expected)
