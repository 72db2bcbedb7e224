"""Whatever is visible in S3 is whole, whenever one looks and whatever is killed."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from conftest import Command, moto_only
from servers import Bucket, Server, set_environment

from pathray import storage

EMBED = ("embed", "--encoder", "mean_rgb", "--mpp", "native")


class Watcher(threading.Thread):
    """Reads every object below a prefix as soon as it shows, over and over, until stopped."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        super().__init__()
        self._bucket, self._prefix = bucket, prefix
        self._ended = threading.Event()
        self.seen: set[tuple[str, str]] = set()
        self.torn: list[str] = []

    def __enter__(self) -> "Watcher":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.is_set():
            for key, (tag, _) in self._bucket.objects(self._prefix).items():
                if (key, tag) not in self.seen:
                    self._look(key)
                    self.seen.add((key, tag))

    def _look(self, key: str) -> None:
        try:
            data = self._bucket.read(key)
        except ClientError:
            return  # a staged piece that was joined and cleared meanwhile
        try:
            if key.endswith(".parquet"):
                pq.read_table(io.BytesIO(data))
            else:
                json.loads(data)
        except Exception as error:
            self.torn.append(f"{key}: {error}")


def test_every_object_ever_visible_is_whole(
    bucket: Bucket, pathray: Command, real_slide: Path, drawn_slide: Path
) -> None:
    for slide in (real_slide, drawn_slide):
        bucket.put(f"slides/{slide.name}", slide)
    with Watcher(bucket, "out/") as watcher:
        done = pathray(*EMBED, "--slides", bucket.uri("slides"), "--out", bucket.uri("out"))
    assert done.code == 0, done.text
    assert watcher.torn == []
    seen = {key for key, _ in watcher.seen}
    assert {"out/_settings.json", f"out/{real_slide.stem}.parquet"} <= seen
    assert any(key.startswith("out/_staging/") for key in seen)


@pytest.mark.slow
@pytest.mark.parametrize("job", [("tile", "--mpp", "native"), EMBED], ids=lambda job: job[0])
def test_a_killed_driver_leaves_nothing_that_its_rerun_does_not_mend(
    bucket: Bucket, pathray: Command, ray_address: str, shared: Path, job: tuple[str, ...]
) -> None:
    for slide in (shared / "data" / "slides").glob("*-crop.svs"):
        bucket.put(f"slides/{slide.name}", slide)
    command = (*job, "--slides", bucket.uri("slides"), "--stride", "112")
    undisturbed = pathray(*command, "--out", bucket.uri("undisturbed"))
    assert undisturbed.code == 0, undisturbed.text

    out = ("--out", bucket.uri("out"))
    environment = os.environ | {"RAY_ADDRESS": ray_address}
    driver = subprocess.Popen([sys.executable, "-m", "jobs", *command, *out], env=environment)
    deadline = time.monotonic() + 120
    while len(bucket.objects("out/")) < 2 and time.monotonic() < deadline:
        assert driver.poll() is None, "the driver ended before it could be killed"
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert "out/_index.parquet" not in bucket.objects("out/")

    again = pathray(*command, *out)
    assert again.code == 0, again.text
    expected = {
        key.removeprefix("undisturbed/"): tag
        for key, (tag, _) in bucket.shards("undisturbed/").items()
    }
    made = {key.removeprefix("out/"): tag for key, (tag, _) in bucket.shards("out/").items()}
    assert made == expected
    assert not bucket.objects("out/_staging/")


class _RefusesTheSecondPart(BaseHTTPRequestHandler):
    """Passes requests on to a store, but for the second part of an upload."""

    store = ""
    protocol_version = "HTTP/1.1"  # clients ask whether to go on before they send a body

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "partNumber=2&" in self.path + "&":
            return self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        request = Request(self.store + self.path, body or None, method=self.command)
        for name, value in self.headers.items():
            if name.lower() not in ("content-length", "connection", "expect"):
                request.add_header(name, value)
        with urlopen(request) as reply:
            return self._answer(reply.status, reply.read(), reply.headers.get("ETag"))

    def _answer(self, status: int, body: bytes, tag: str | None = None) -> None:
        self.send_response(status)
        if tag:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Tests print their own lines."""


@moto_only
@pytest.mark.parametrize("put", [storage.put_bytes, storage.put_file])
def test_a_large_upload_that_fails_is_aborted_and_leaves_nothing(
    bucket: Bucket,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    put: Callable[..., None],
) -> None:
    content: bytes | Path = bytes(101 << 20)  # s3fs uploads in parts from 100 MiB on
    if put is storage.put_file:
        (tmp_path / "large").write_bytes(bytes(content))
        content = tmp_path / "large"
    handler = type("Handler", (_RefusesTheSecondPart,), {"store": server.endpoint})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    faulty = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_address[1]}"}
    set_environment(monkeypatch, server.environment() | faulty)
    try:
        with pytest.raises(PermissionError):
            put(bucket.uri("out/large.parquet"), content)
    finally:
        proxy.shutdown()
        proxy.server_close()
    assert bucket.objects() == {}
    assert not bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads")
