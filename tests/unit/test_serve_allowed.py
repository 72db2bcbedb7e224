"""Only what lies below an allowed prefix is opened, however it is spelt."""

from collections.abc import Iterator
from pathlib import Path

import fsspec.config
import pytest
from fastapi import HTTPException
from fsspec.implementations.http import HTTPFileSystem
from hypothesis import given
from hypothesis import strategies as st

from pathray import storage
from serve.allowed import Allowed
from serve.noredirects import RedirectRefusedError, refuse_redirects

STORES = Allowed("slide", ["s3://bucket/slides/", "https://Images.example/wsi", "gs://b"])


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/slides/a.svs",
        "s3://bucket/slides/deep/a b (1).svs",
        "https://images.example/wsi/a.svs",
        "https://IMAGES.example/wsi/a.svs",
        "gs://b/a.svs",
    ],
)
def test_what_lies_below_a_prefix_is_opened(uri: str) -> None:
    assert STORES.check(uri).lower() == uri.lower()


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a.svs",
        "/etc/passwd",
        "file:///etc/passwd",
        "s3://bucket/slides",
        "s3://bucket/slides/",
        "s3://bucket/slides-secret/a.svs",
        "s3://bucket/a.svs",
        "s3://other/slides/a.svs",
        "s3://bucket/slides/../secret/a.svs",
        "s3://bucket/slides/./a.svs",
        "s3://bucket/slides//a.svs",
        "s3://bucket/slides/%2e%2e/secret/a.svs",
        "s3://bucket/slides/..%2fsecret/a.svs",
        "s3://bucket/slides/..\\secret\\a.svs",
        "s3://bucket/slides/*.svs",
        "s3://bucket/slides/a.svs?versionId=1",
        "s3://bucket/slides/a.svs#x",
        "s3://bucket/slides/a.svs\x00.txt",
        "s3://bucket/slides/a.svs\n",
        " s3://bucket/slides/a.svs",
        "simplecache::s3://bucket/slides/a.svs",
        "zip://a::s3://bucket/slides/a.zip",
        "https://user@images.example/wsi/a.svs",
        "https://images.example@evil.org/wsi/a.svs",
        "https://images.example:8443/wsi/a.svs",
        "http://images.example/wsi/a.svs",
        "https://evil.org/https://images.example/wsi/a.svs",
        "https://images.example/wsi/../admin",
        "ftp://images.example/wsi/a.svs",
        "data:text/plain,hello",
        "s3://bucket/slides/" + "a" * 3000,
    ],
)
def test_everything_else_is_refused(uri: str) -> None:
    with pytest.raises(HTTPException) as refused:
        STORES.check(uri)
    assert refused.value.status_code == 403
    assert uri[:20] not in refused.value.detail or not uri


def test_without_prefixes_nothing_is_opened() -> None:
    with pytest.raises(HTTPException):
        Allowed("slide", []).check("s3://bucket/a.svs")


def test_a_symbolic_link_does_not_lead_out(tmp_path: Path) -> None:
    inside, outside = tmp_path / "slides", tmp_path / "secret"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.svs").write_bytes(b"x")
    (inside / "link.svs").symlink_to(outside / "a.svs")
    (inside / "folder").symlink_to(outside)
    (inside / "own.svs").symlink_to(inside / "a.svs")
    allowed = Allowed("slide", [str(inside)])
    assert allowed.check(str(inside / "a.svs")) == str(inside / "a.svs")
    assert allowed.check(f"file://{inside}/a.svs") == str(inside / "a.svs")
    assert allowed.check(str(inside / "own.svs")) == str(inside / "a.svs")
    for name in ("link.svs", "folder/a.svs", "../secret/a.svs"):
        with pytest.raises(HTTPException):
            allowed.check(f"{inside}/{name}")


@given(st.text(max_size=40))
def test_whatever_follows_a_prefix_stays_below_it(rest: str) -> None:
    try:
        opened = STORES.check("s3://bucket/slides/" + rest)
    except HTTPException:
        return
    assert opened.startswith("s3://bucket/slides/")
    assert ".." not in opened.split("/")


@pytest.fixture
def no_redirects(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Redirects are refused for a while: file systems that exist already are set aside."""
    monkeypatch.setattr(fsspec.config, "conf", {})
    HTTPFileSystem.clear_instance_cache()
    refuse_redirects()
    yield
    HTTPFileSystem.clear_instance_cache()


@pytest.mark.usefixtures("no_redirects")
def test_a_redirect_is_not_followed(web: Path, server: str) -> None:
    (web / "folder").mkdir()
    (web / "folder" / "index.html").write_bytes(b"secret")
    (web / "a.svs").write_bytes(b"slide")
    assert storage.read_bytes(f"{server}/a.svs") == b"slide"
    # The server redirects a folder's name without a slash to the folder.
    with pytest.raises((RedirectRefusedError, FileNotFoundError)):
        storage.read_bytes(f"{server}/folder")
