"""Objects behind URIs, on this machine's disk and in memory."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from pathray import storage
from pathray.errors import RequestError


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh folder or prefix."""
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def names(entries: list[storage.Entry]) -> list[str]:
    return [entry.name for entry in entries]


def test_what_is_put_is_read_back_whole_and_in_ranges(base: str) -> None:
    uri = storage.join(base, "deep", "er", "a.bin")
    storage.put_bytes(uri, b"0123456789")
    assert storage.read_bytes(uri) == b"0123456789"
    assert storage.read_range(uri, 3, 6) == b"345"
    assert storage.read_range(uri, 8, 99) == b"89"
    with storage.open_for_reading(uri) as file:
        file.seek(-2, os.SEEK_END)
        assert file.read() == b"89"


def test_a_put_replaces_what_was_there(base: str) -> None:
    uri = storage.join(base, "a.bin")
    storage.put_bytes(uri, b"a long first version")
    storage.put_bytes(uri, b"short")
    assert storage.read_bytes(uri) == b"short"


def test_a_local_file_is_put_whole(base: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = tmp_path_factory.mktemp("made") / "made.bin"
    source.write_bytes(bytes(1000))
    uri = storage.join(base, "a.bin")
    storage.put_file(uri, source)
    assert storage.read_bytes(uri) == bytes(1000)
    assert source.exists()


def test_a_listing_is_sorted_and_goes_as_deep_as_asked(base: str) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt"):
        storage.put_bytes(storage.join(base, name), b"x")
    assert names(storage.list_objects(base)) == ["a.txt", "b.txt", "c.txt"]
    assert names(storage.list_objects(base, recursive=False)) == ["a.txt", "b.txt"]


def test_a_listing_names_objects_as_the_prefix_was_asked_for(base: str) -> None:
    storage.put_bytes(storage.join(base, "sub", "c.txt"), b"x")
    assert [e.uri for e in storage.list_objects(base)] == [storage.join(base, "sub", "c.txt")]
    assert [e.uri for e in storage.list_objects(base + "/")] == [storage.join(base, "sub", "c.txt")]


def test_a_prefix_without_objects_lists_none(base: str) -> None:
    assert storage.list_objects(storage.join(base, "nothing")) == []


def test_there_is_nothing_below_an_object(base: str) -> None:
    uri = storage.join(base, "a.txt")
    storage.put_bytes(uri, b"x")
    assert storage.list_objects(uri) == []


def test_a_glob_finds_what_matches(base: str) -> None:
    for name in ("a.svs", "b.svs", "c.txt", "sub/d.svs"):
        storage.put_bytes(storage.join(base, name), b"x")
    assert names(storage.glob(storage.join(base, "*.svs"))) == ["a.svs", "b.svs"]
    assert names(storage.glob(storage.join(base, "**", "*.svs"))) == ["a.svs", "b.svs", "d.svs"]
    assert storage.glob(storage.join(base, "*.ndpi")) == []


def test_an_object_and_a_folder_are_told_apart(base: str) -> None:
    uri = storage.join(base, "sub", "a.txt")
    storage.put_bytes(uri, b"x")
    folder = storage.parent(uri)
    assert storage.exists(uri)
    assert not storage.exists(folder)
    assert not storage.exists(storage.join(base, "nothing"))
    assert storage.is_prefix(folder)
    assert not storage.is_prefix(uri)
    with pytest.raises(IsADirectoryError):
        storage.stat(folder)
    with pytest.raises(FileNotFoundError):
        storage.stat(storage.join(base, "nothing"))


def test_a_new_version_of_an_object_is_another_source(base: str) -> None:
    uri = storage.join(base, "a.txt")
    storage.put_bytes(uri, b"x")
    first = storage.stat(uri)
    assert first.size == 1
    assert first.version
    assert storage.stat(uri) == first
    storage.put_bytes(uri, b"y")
    if storage.is_local(uri):
        os.utime(uri, (1, 1))
    assert storage.stat(uri).version != first.version


def test_an_etag_identifies_a_version_before_any_time_does() -> None:
    info = {"size": 3, "ETag": '"abc"', "LastModified": 5}
    assert storage._source(info).version == "abc"


def test_deleting_is_done_once_and_forgiven_twice(base: str) -> None:
    uris = [storage.join(base, "sub", name) for name in ("a.txt", "b.txt")]
    for uri in uris:
        storage.put_bytes(uri, b"x")
    storage.delete(uris)
    storage.delete(uris)
    assert storage.list_objects(base) == []
    assert not storage.is_prefix(storage.join(base, "sub"))


def test_a_put_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        storage.put_bytes(str(tmp_path / "a.txt"), b"0123456789")
    assert list(tmp_path.iterdir()) == []


def test_a_put_that_fails_leaves_the_old_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "a.txt")
    storage.put_bytes(uri, b"old")

    def fail(*_: Path) -> Path:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        storage.put_bytes(uri, b"new")
    assert storage.read_bytes(uri) == b"old"
    assert names(storage.list_objects(str(tmp_path))) == ["a.txt"]


def test_a_file_that_is_being_written_is_in_no_listing(tmp_path: Path) -> None:
    with storage._aside(tmp_path / "a.txt") as temporary:
        temporary.write_bytes(b"half of i")
        assert storage.list_objects(str(tmp_path)) == []
        assert storage.glob(str(tmp_path / "*")) == []
        assert not storage.exists(str(tmp_path / "a.txt"))
    assert names(storage.list_objects(str(tmp_path))) == ["a.txt"]


def test_objects_are_as_readable_as_other_files_and_writers_leave_the_umask_alone(
    tmp_path: Path,
) -> None:
    old = os.umask(0o027)
    try:
        threads = [
            threading.Thread(target=storage.put_bytes, args=(str(tmp_path / f"{i}"), b"x"))
            for i in range(64)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
    finally:
        assert os.umask(old) == 0o027


def test_a_name_with_double_colons_is_a_name_on_this_machine(tmp_path: Path) -> None:
    storage.put_bytes(str(tmp_path / "a::b.txt"), b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a::b.txt"]
    assert storage.read_bytes(str(tmp_path / "a::b.txt")) == b"x"


def test_a_relative_path_is_made_absolute_and_a_uri_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert storage.absolute("slides/") == str(tmp_path / "slides")
    assert storage.absolute("~/slides") == "/home/someone/slides"
    assert storage.absolute("file:///data/a.svs") == "/data/a.svs"
    assert storage.absolute("s3://bucket/slides/") == "s3://bucket/slides"


@pytest.mark.parametrize(
    ("uri", "stem"),
    [
        ("s3://b/a.b.svs", "a.b"),
        ("/data/a", "a"),
        ("/data/.hidden", ".hidden"),
        ("/data/folder/", "folder"),
    ],
)
def test_the_stem_is_the_name_without_its_last_suffix(uri: str, stem: str) -> None:
    assert storage.stem(uri) == stem


def test_an_unknown_store_is_a_wrong_request_in_one_line() -> None:
    with pytest.raises(RequestError, match=r"cannot open nostore://a/b: .*nostore") as caught:
        storage.stat("nostore://a/b")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "error", "says"),
    [
        ("s3://b/a", PermissionError("Forbidden"), "no permission for s3://b/a: check AWS_ACCESS"),
        ("/data/a", PermissionError(13, "denied"), "no permission for /data/a: check its perm"),
        ("s3://b/a", FileNotFoundError("x"), "s3://b/a does not exist"),
        ("s3://b/a", RuntimeError("NoCredentialsError"), "no credentials for s3://b/a: set AWS_"),
        ("s3://b/a", RuntimeError("EndpointConnectionError"), "check AWS_ENDPOINT_URL"),
        ("/data/a", OSError(28, "No space left"), "cannot use /data/a: OSError: [Errno 28] No"),
        ("/data/a", ValueError("two\nlines"), "cannot use /data/a: ValueError: two lines"),
    ],
)
def test_a_refusal_is_told_in_one_line_with_its_cure(uri: str, error: Exception, says: str) -> None:
    text = storage.reason(uri, error)
    assert says in text
    assert "\n" not in text


def test_only_an_s3_store_is_said_to_depend_on_the_aws_endpoint() -> None:
    text = storage.reason("http://host/a.svs", ConnectionError("Cannot connect to host"))
    assert "cannot reach the store of http://host/a.svs" in text
    assert "AWS" not in text


@pytest.mark.parametrize("put", [storage.put_bytes, None])
def test_a_listing_sees_what_another_client_wrote_since(
    put: Callable[[str, bytes], None] | None,
) -> None:
    prefix = f"memory://since-{put is None}"
    assert storage.list_objects(prefix) == []
    if put:
        put(f"{prefix}/a.txt", b"x")
    else:
        fsspec.filesystem("memory").pipe_file(f"{prefix}/a.txt", b"x")
    assert names(storage.list_objects(prefix)) == ["a.txt"]
