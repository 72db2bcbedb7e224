"""Where weights come from: directories, files, seeds, the hub; and what is said when they fail."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray

from pathray.encoders import EncoderSpec, load_encoder, resolve
from pathray.encoders.architecture import TimmModel
from pathray.encoders.directory import write_directory
from pathray.encoders.loading import random_model
from pathray.errors import RequestError

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
SPEC = EncoderSpec(
    name="tiny",
    builder=TimmModel("vit_tiny_patch16_224", TINY),
    weights=None,
    input_size=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    interpolation="bicubic",
    pooling="class",
    width=24,
    mpp=0.25,
    licence="MIT",
    source=None,
    gated=False,
    precision=None,
)


def tiles_of(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


@pytest.fixture
def directory(tmp_path: Path) -> str:
    write_directory(str(tmp_path / "tiny"), SPEC, random_model(SPEC, 5).state_dict())
    return str(tmp_path / "tiny")


def test_a_written_directory_reloads_to_the_same_encoder(directory: str) -> None:
    encoder = load_encoder(directory, precision="fp32")
    assert replace(encoder.spec, gated=False) == SPEC
    assert resolve(directory) == encoder.spec
    model = random_model(SPEC, 5)
    written = safetensors.torch.load_file(Path(directory) / "model.safetensors")
    assert set(written) == set(model.state_dict())
    assert all(torch.equal(written[name], t) for name, t in model.state_dict().items())
    described = json.loads((Path(directory) / "encoder.json").read_text())
    assert described["digest"] == encoder.digest


def test_a_directory_is_read_from_any_store() -> None:
    digest = write_directory("memory://store/tiny", SPEC, random_model(SPEC, 5).state_dict())
    assert load_encoder("memory://store/tiny/").digest == digest


def test_half_precision_weights_load_as_the_numbers_they_are(directory: str) -> None:
    path = Path(directory) / "model.safetensors"
    half = {k: v.half() for k, v in safetensors.torch.load_file(path).items()}
    encoder = load_encoder_of(directory, half)
    full = load_encoder_of(directory, {k: v.float() for k, v in half.items()})
    assert encoder == full


def load_encoder_of(directory: str, tensors: dict[str, torch.Tensor]) -> str:
    file = str(Path(directory) / "other.safetensors")
    safetensors.torch.save_file(tensors, file)
    return load_encoder(directory, weights=file).digest


def test_a_directory_changed_after_writing_is_refused(directory: str) -> None:
    path = Path(directory) / "encoder.json"
    path.write_text(path.read_text().replace('"bicubic"', '"bilinear"'))
    with pytest.raises(RequestError, match="digest"):
        load_encoder(directory)


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_are_named(directory: str, damage: str) -> None:
    path = Path(directory) / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    if damage == "missing":
        del tensors["norm.weight"]
    elif damage == "unknown":
        tensors["blocks.7.norm1.weight"] = torch.zeros(24)
    else:
        tensors["norm.weight"] = torch.zeros(25)
    safetensors.torch.save_file(tensors, path)
    message = {
        "missing": r"it lacks norm.weight",
        "unknown": r"it has unknown blocks.7.norm1.weight",
        "shape": r"norm.weight is \(25,\), not \(24,\)",
    }[damage]
    with pytest.raises(RequestError, match=message):
        load_encoder(directory)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pooling", None, "lacks pooling"),
        ("colour", 1, "unknown colour"),
        ("format", 9, "format 9"),
    ],
)
def test_a_description_that_is_not_understood_is_refused(
    directory: str, key: str, value: object, message: str
) -> None:
    path = Path(directory) / "encoder.json"
    described = json.loads(path.read_text())
    described.pop(key, None)
    if value is not None:
        described[key] = value
    path.write_text(json.dumps(described))
    with pytest.raises(RequestError, match=message):
        load_encoder(directory)


def test_random_weights_are_the_seeds_and_leave_the_generator_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    name = "timm/vit_tiny_patch16_224"
    digests = [load_encoder(name, random_init=True, seed=seed).digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_come_from_any_file(directory: str, tmp_path: Path, suffix: str) -> None:
    other = random_model(SPEC, 8).state_dict()
    file = f"memory://weights/tiny.{suffix}"
    local = tmp_path / f"tiny.{suffix}"
    if suffix == "safetensors":
        safetensors.torch.save_file(other, local)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in other.items()}}, local)
    import fsspec

    with fsspec.open(file, "wb") as target:
        target.write(local.read_bytes())
    encoder = load_encoder(directory, weights=file)
    assert encoder.digest == load_encoder(directory, weights=str(local)).digest
    assert encoder.digest != load_encoder(directory).digest


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_a_pickle_with_code_is_not_run(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": random_model(SPEC, 8).state_dict(), "x": Bomb()}, "bomb.pth")
    with pytest.raises(RequestError, match="--allow-pickle"):
        load_encoder(directory, weights="bomb.pth")
    assert not Path("exploded").exists()
    load_encoder(directory, weights="bomb.pth", allow_pickle=True)
    assert Path("exploded").exists()


def test_a_file_that_is_no_checkpoint_is_named(directory: str, tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("no weights")
    (tmp_path / "notes.safetensors").write_text("no weights")
    for file in ("notes.pth", "notes.safetensors", "absent.pth"):
        with pytest.raises(RequestError, match=file):
            load_encoder(directory, weights=str(tmp_path / file))


def test_contradicting_requests_are_refused(directory: str) -> None:
    with pytest.raises(RequestError, match="exclude"):
        load_encoder(directory, weights="x.pth", random_init=True)
    with pytest.raises(RequestError, match="has no weights"):
        load_encoder("mean_rgb", random_init=True)
    with pytest.raises(RequestError, match="unknown precision 'int8'"):
        load_encoder(directory, precision="int8")


def test_weights_that_are_on_no_hub_are_asked_for() -> None:
    with pytest.raises(RequestError) as caught:
        load_encoder("beph")
    text = str(caught.value)
    assert "https://github.com/Zhcyoung/BEPH" in text
    assert "--weights URI" in text
    assert "--random-init" in text
    assert text.count("\n") <= 2


PLUGIN = """
from pathray.encoders import EncoderSpec

def build():
    import torch
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())

POOL = EncoderSpec(
    name="pool", builder=build, weights=None, input_size=16, mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0), interpolation="bilinear", pooling="model", width=12, mpp=None,
    licence="MIT", source=None, gated=False, precision="fp32",
)
"""


def test_an_encoder_from_a_file_of_under_15_lines_runs(tmp_path: Path) -> None:
    assert len(PLUGIN.strip().splitlines()) < 15
    (tmp_path / "mine.py").write_text(PLUGIN)
    encoder = load_encoder(f"{tmp_path}/mine.py:POOL", precision="fp32")
    tiles = np.full((2, 16, 16, 3), 51, np.uint8)
    np.testing.assert_allclose(encoder(tiles), np.full((2, 12), 0.2), atol=1e-6)
    with pytest.raises(RequestError, match="is no EncoderSpec"):
        load_encoder(f"{tmp_path}/mine.py:build")
    with pytest.raises(RequestError, match=r"no Python file .*theirs\.py"):
        load_encoder(f"{tmp_path}/theirs.py:POOL")


def test_an_installed_packages_entry_point_is_an_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_encoders.py").write_text(PLUGIN)
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pathray.encoders]\ntheir_pool = their_encoders:POOL\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_encoder("their_pool").dim == 12


COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download asks for: one open repository, one gated."""

    weights = safetensors.torch.save(random_model(SPEC, 5).state_dict())
    asked: list[str] = []  # noqa: RUF012  (shared on purpose: the test reads it)

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        body, code, headers = b"", 200, {}
        if self.path.startswith("/MahmoodLab/uni/"):
            code, headers = 403, {"X-Error-Code": "GatedRepo"}
        elif self.path.endswith("/model.safetensors"):
            body = self.weights
            headers = {"ETag": f'"{sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


LOADS = """
import sys
from dataclasses import replace
import huggingface_hub.constants
from pathray.encoders import load_encoder
from pathray.encoders.directory import read_description
from pathray.encoders.spec import HubWeights, add
from pathray.errors import RequestError

def load(name):
    try:
        print(load_encoder(name).digest, end="\\0")
    except RequestError as error:
        print(error, end="\\0")

spec = read_description(sys.argv[1])[0]
add(replace(spec, name="open", weights=HubWeights("lab/open")))
load("open")
load("uni")
huggingface_hub.constants.ENDPOINT = "http://127.0.0.1:9"
load("open")
load("uni")
"""


@pytest.fixture
def loads(directory: str, hub: str, tmp_path: Path) -> list[str]:
    """What loading says: an open and a gated model, then both with nobody at the address."""
    # A process of its own: the hub's client reads its address and cache when imported.
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", LOADS, directory],
        env=environment, capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    return done.stdout.split("\0")[:4]


def test_released_weights_are_downloaded_once_or_the_failure_is_told_in_three_lines(
    loads: list[str], directory: str
) -> None:
    digest = load_encoder(directory).digest
    downloaded, gated, cached, unreachable = loads
    assert downloaded == cached == digest
    assert len([line for line in Hub.asked if line.startswith("GET") and "open" in line]) == 1
    for text, reason in ((gated, "Gated"), (unreachable, "Connect")):
        first, second, third = text.splitlines()
        assert "'uni'" in first
        assert reason in first
        assert "CC-BY-NC-ND-4.0, https://huggingface.co/MahmoodLab/uni" in second
        assert "HF_TOKEN" in second
        assert "--weights URI" in third
        assert "--random-init" in third
