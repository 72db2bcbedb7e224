"""The node-local cache of remote slides, used by several processes."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from counted_store import Store

from pathray import storage
from pathray.errors import SlideError
from pathray.slides.spool import PARTIAL, Spool, default_folder

PROCESSES = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A cache of 300 bytes."""
    return Spool(tmp_path / "spool", 300)


def fetch(spool: Spool, uri: str) -> bytes:
    with spool.lease(uri, wait_seconds=0) as path:
        return path.read_bytes()


def held(spool: Spool) -> int:
    """Bytes that lie in the cache, whole or in part."""
    return sum(path.stat().st_size for path in spool.folder.rglob("*") if path.is_file())


def until(condition: Callable[[], bool]) -> None:
    """Wait for another process or thread."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_a_slide_is_downloaded_once_and_then_found(store: Store, spool: Spool) -> None:
    uri = store.put("a.svs", 100)
    with spool.lease(uri) as path:
        assert path.name == "a.svs"
        assert path.read_bytes() == b"x" * 100
    assert fetch(spool, uri) == b"x" * 100
    assert store.fetches() == ["a.svs"]


def test_of_several_processes_one_downloads_and_all_read(store: Store, spool: Spool) -> None:
    uri = store.put("a.svs", 100)
    store.pause(0.3)

    def read() -> None:
        os._exit(0 if fetch(spool, uri) == b"x" * 100 else 1)

    readers = [PROCESSES.Process(target=read) for _ in range(5)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert [reader.exitcode for reader in readers] == [0] * 5
    assert store.fetches() == ["a.svs"]


def start_download_and_kill_it(store: Store, spool: Spool, uri: str) -> None:
    store.pause(60)
    downloader = PROCESSES.Process(target=fetch, args=(spool, uri))
    downloader.start()
    until(lambda: len(store.fetches()) == 1)
    assert downloader.pid
    os.kill(downloader.pid, signal.SIGKILL)
    downloader.join(30)
    store.pause(0)
    assert [path.name for path in spool.folder.iterdir() if path.name.startswith(PARTIAL)]


def test_a_download_that_was_killed_is_begun_anew(store: Store, spool: Spool) -> None:
    uri = store.put("a.svs", 100)
    start_download_and_kill_it(store, spool, uri)
    assert fetch(spool, uri) == b"x" * 100
    assert spool.used_bytes() == held(spool) == 100


def test_what_a_killed_download_left_makes_room_for_another_slide(
    store: Store, spool: Spool
) -> None:
    start_download_and_kill_it(store, spool, store.put("a.svs", 200))
    assert fetch(spool, store.put("b.svs", 250, b"b")) == b"b" * 250
    assert spool.used_bytes() == held(spool) == 250


def test_a_slide_being_downloaded_is_seen_by_nobody_and_counts_as_used(
    store: Store, spool: Spool
) -> None:
    store.pause(0.3)
    uri = store.put("a.svs", 200)
    downloader = threading.Thread(target=fetch, args=(spool, uri))
    downloader.start()
    until(lambda: len(store.fetches()) == 1)
    assert not list(spool.folder.glob("[!.]*/a.svs"))
    assert spool.used_bytes() == 200
    with pytest.raises(SlideError, match="full of slides in use"):
        fetch(spool, store.put("b.svs", 200))
    downloader.join()
    assert list(spool.folder.glob("[!.]*/a.svs"))


def test_the_least_recently_used_slide_goes_first(store: Store, spool: Spool) -> None:
    a, b, c, d = (store.put(f"{name}.svs", 100) for name in "abcd")
    for uri in (a, b, c, a, d):
        fetch(spool, uri)
        time.sleep(0.01)  # the time of use is a file's
    assert sorted(path.name for path in spool.folder.glob("*/*.svs")) == ["a.svs", "c.svs", "d.svs"]
    assert spool.used_bytes() == 300


def test_no_more_is_evicted_than_must_be(store: Store, spool: Spool) -> None:
    for name in "abc":
        fetch(spool, store.put(f"{name}.svs", 100))
    fetch(spool, store.put("d.svs", 50))
    assert len(list(spool.folder.glob("*/*.svs"))) == 3


def test_a_slide_larger_than_the_cache_fails_with_the_cure(store: Store, spool: Spool) -> None:
    fetch(spool, store.put("a.svs", 100))
    with pytest.raises(SlideError, match=r"larger than the local cache.*--cache-gb"):
        fetch(spool, store.put("b.svs", 301))
    assert store.fetches() == ["a.svs"]
    assert spool.used_bytes() == 100


def test_a_slide_in_use_is_not_evicted(store: Store, spool: Spool) -> None:
    with spool.lease(store.put("a.svs", 200)) as path:
        with pytest.raises(SlideError, match="full of slides in use: give a larger --cache-gb"):
            fetch(spool, store.put("b.svs", 200))
        assert path.read_bytes() == b"x" * 200
    assert fetch(spool, store.put("b.svs", 200)) == b"x" * 200


def test_a_slide_in_use_twice_is_kept_until_both_are_done(store: Store, spool: Spool) -> None:
    uri = store.put("a.svs", 200)
    with spool.lease(uri) as path:
        fetch(spool, uri)
        with pytest.raises(SlideError, match="in use"):
            fetch(spool, store.put("b.svs", 200))
        assert path.exists()


def test_who_waits_gets_the_room_that_another_leaves(store: Store, spool: Spool) -> None:
    read: list[bytes] = []

    def wait(uri: str) -> None:
        with spool.lease(uri, wait_seconds=20) as path:
            read.append(path.read_bytes())

    with spool.lease(store.put("a.svs", 200)):
        waiting = threading.Thread(target=wait, args=(store.put("b.svs", 200),))
        waiting.start()
        waiting.join(0.3)
        assert not read
    waiting.join(20)
    assert read == [b"x" * 200]


def test_a_new_version_of_a_slide_is_another_slide(store: Store, spool: Spool) -> None:
    assert fetch(spool, store.put("a.svs", 100)) == b"x" * 100
    assert fetch(spool, store.put("a.svs", 90, b"y")) == b"y" * 90


def test_slides_of_one_name_in_two_folders_are_two_slides(store: Store, spool: Spool) -> None:
    one, two = store.put("1/a.svs", 9, b"1"), store.put("2/a.svs", 9, b"2")
    assert fetch(spool, one) + fetch(spool, two) == b"1" * 9 + b"2" * 9


def test_a_slide_that_changes_while_it_comes_fails_and_leaves_nothing(
    store: Store, spool: Spool
) -> None:
    uri = store.put("a.svs", 100)
    store.pause(0.3)
    failures: list[str] = []

    def read() -> None:
        with pytest.raises(SlideError) as caught:
            fetch(spool, uri)
        failures.append(str(caught.value))

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: len(store.fetches()) == 1)
    store.put("a.svs", 100, b"y")
    reader.join()
    assert failures == ["the slide changed while it was being downloaded: run again"]
    assert (spool.used_bytes(), held(spool)) == (0, 0)
    assert fetch(spool, uri) == b"y" * 100


def test_a_download_that_comes_short_fails_and_leaves_nothing(store: Store, spool: Spool) -> None:
    uri = store.put("a.svs", 100)
    store.hang_up_early()
    with pytest.raises(SlideError, match="came as 50 of 100 bytes: run again"):
        fetch(spool, uri)
    assert (spool.used_bytes(), held(spool)) == (0, 0)


def test_a_slide_that_is_missing_is_a_slide_error(store: Store, spool: Spool) -> None:
    with pytest.raises(SlideError, match=r"a\.svs does not exist"):
        fetch(spool, f"counted://{store.root}/a.svs")


@pytest.mark.parametrize("remote", [True, False])
def test_companions_come_along_and_count(store: Store, spool: Spool, remote: bool) -> None:
    names = {"m.mrxs": 50, "m/Slidedat.ini": 20, "m/deep/Data.dat": 30, "n/Slidedat.ini": 10}
    base = f"counted://{store.root}" if remote else "memory://companions"
    for name, size in names.items():
        if remote:
            store.put(name, size)
        else:
            storage.put_bytes(f"{base}/{name}", b"x" * size)
    with spool.lease(f"{base}/m.mrxs") as path:
        assert path.read_bytes() == b"x" * 50
        assert (path.parent / "m" / "Slidedat.ini").stat().st_size == 20
        assert (path.parent / "m" / "deep" / "Data.dat").stat().st_size == 30
        assert not (path.parent / "n").exists()
    assert spool.used_bytes() == held(spool) == 100


def test_what_else_lies_in_the_folder_is_neither_counted_nor_evicted(
    store: Store, spool: Spool
) -> None:
    for name in ("results-2024", "notes", ".partial-thesis-1"):
        (spool.folder / name).mkdir(parents=True)
        (spool.folder / name / "precious.txt").write_text("x")
    for name in "abcd":
        fetch(spool, store.put(f"{name}.svs", 300))
    assert spool.used_bytes() == 300
    assert len(list(spool.folder.glob("*/precious.txt"))) == 3


def test_an_eviction_that_was_killed_half_way_leaves_no_broken_slide(
    store: Store, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = store.put("a.svs", 200)
    fetch(spool, uri)
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(SlideError):
            fetch(spool, store.put("b.svs", 200))
    assert fetch(spool, uri) == b"x" * 200
    assert store.fetches() == ["a.svs", "a.svs"]


def test_a_slide_comes_over_http_with_its_time_for_a_version(
    server: str, web: Path, spool: Spool
) -> None:
    (web / "a.svs").write_bytes(b"x" * 100)
    assert fetch(spool, f"{server}/a.svs") == b"x" * 100
    assert "GMT" in storage.stat(f"{server}/a.svs").version
    with pytest.raises(SlideError, match=r"b\.svs does not exist"):
        fetch(spool, f"{server}/b.svs")


def test_companions_come_over_http_though_its_listing_has_no_sizes(
    server: str, web: Path, spool: Spool
) -> None:
    for name, size in {"m.mrxs": 50, "m/Slidedat.ini": 20}.items():
        (web / name).parent.mkdir(exist_ok=True)
        (web / name).write_bytes(b"x" * size)
    with spool.lease(f"{server}/m.mrxs") as path:
        assert (path.parent / "m" / "Slidedat.ini").read_bytes() == b"x" * 20
    assert spool.used_bytes() == 70


def test_the_folder_is_the_users_own_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATHRAY_CACHE_DIR", raising=False)
    assert default_folder().name == f"pathray-{os.getuid()}"
    monkeypatch.setenv("PATHRAY_CACHE_DIR", "/scratch/slides")
    assert default_folder() == Path("/scratch/slides")
