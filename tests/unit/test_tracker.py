"""The driver's book-keeping: reports in, outcomes out. No Ray."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.items import Report, SlideWork
from jobs.resume import Found, find_work
from jobs.tracker import Tracker
from pathray import outputs
from pathray.cohort import Slide
from pathray.errors import PathrayError, SlideError
from pathray.outputs import Status
from pathray.storage import Source


@dataclass
class Kept:
    """Results that note what they are asked to complete."""

    refuse: Exception | None = None
    completed: list[tuple[str, int]] = field(default_factory=list)

    def identity(self, slide: Slide, source: Source) -> dict[str, Any]:
        if slide.slide_id == "maskless":
            raise SlideError("mask m.png does not exist")
        return {"source": source.version}

    def look_up(self, work: SlideWork, identity: dict[str, Any]) -> Status | SlideWork:
        return work

    def complete(self, status: Status, pieces: int) -> Status:
        self.completed.append((status.slide_id, pieces))
        if self.refuse:
            raise self.refuse
        error = outputs.too_many_lost(status, 0.1)
        return replace(status, status="failed", n_tiles=0, error=error) if error else status


def slide(name: str) -> Slide:
    return Slide(name, f"/data/{name}.svs")


def work(*names: str) -> Found:
    return Found(
        todo=[SlideWork(slide(name), Source(1, "v"), identity={"source": "v"}) for name in names]
    )


def planned(name: str, pieces: int = 2, tiles: int = 20) -> Report:
    return Report("planned", name, pieces=pieces, tiles=tiles, reader="tiff", bytes_read=7,
                  seconds={"plan": 1.0})  # fmt: skip


def piece(name: str, index: int, tiles: int = 10, lost: int = 0, resumed: bool = False) -> Report:
    return Report("piece", name, piece=index, pieces=2, tiles=tiles, tiles_lost=lost,
                  resumed=resumed, seconds={"cut": 2.0}, bytes_read=5)  # fmt: skip


def follow(out: Path, reports: list[Report], results: Kept | None = None) -> tuple[int, Status]:
    """The exit code and the outcome of slide `a` after these reports."""
    with Tracker("tile", str(out), work("a"), results or Kept()) as tracker:
        for report in reports:
            tracker.take(report)
    code = tracker.summarise()
    return code, outputs.read_statuses(str(out))["a"]


WHOLE = [planned("a"), piece("a", 0), piece("a", 1)]


def test_a_slide_is_done_when_its_pieces_are_there(tmp_path: Path) -> None:
    results = Kept()
    code, status = follow(tmp_path, WHOLE, results)
    assert (code, status.status, status.n_tiles, status.tiles_lost) == (0, "done", 20, 0)
    assert (status.seconds, status.bytes_read, status.reader) == (5.0, 17, "tiff")
    assert status.identity == {"source": "v"}
    assert status.time
    assert results.completed == [("a", 2)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_reports_may_come_in_any_order(tmp_path: Path, order: tuple[int, ...]) -> None:
    code, status = follow(tmp_path, [WHOLE[i] for i in order])
    assert (code, status.status, status.n_tiles, status.seconds) == (0, "done", 20, 5.0)


def test_a_repeated_report_changes_nothing(tmp_path: Path) -> None:
    results = Kept()
    reports = [WHOLE[0], WHOLE[0], WHOLE[1], WHOLE[1], WHOLE[0], WHOLE[2], *WHOLE]
    code, status = follow(tmp_path, reports, results)
    assert (code, status.n_tiles, status.seconds, status.bytes_read) == (0, 20, 5.0, 17)
    assert results.completed == [("a", 2)]


def test_a_report_of_a_slide_that_nobody_asked_for_is_ignored(tmp_path: Path) -> None:
    code, _ = follow(tmp_path, [*WHOLE, planned("b"), Report("failed", "b", error="x")])
    assert code == 0
    assert set(outputs.read_statuses(str(tmp_path))) == {"a"}


def test_a_slide_without_tiles_is_empty(tmp_path: Path) -> None:
    code, status = follow(tmp_path, [planned("a", 1, 0), piece("a", 0, tiles=0)])
    assert (code, status.status, status.n_tiles, status.error) == (0, "empty", 0, None)


@pytest.mark.parametrize("before", [[], [planned("a")], [planned("a"), piece("a", 0)]])
def test_a_failed_slide_is_settled_once_with_its_reason(
    tmp_path: Path, before: list[Report]
) -> None:
    results = Kept()
    reports = [*before, Report("failed", "a", error="no mpp"), Report("failed", "a", error="late")]
    code, status = follow(tmp_path, [*reports, piece("a", 1)], results)
    assert (code, status.status, status.n_tiles, status.error) == (1, "failed", 0, "no mpp")
    assert results.completed == []


def test_a_slide_that_lost_too_many_tiles_fails(tmp_path: Path) -> None:
    code, status = follow(tmp_path, [planned("a"), piece("a", 0, 7, lost=3), piece("a", 1)])
    assert (code, status.status, status.n_tiles, status.tiles_lost) == (1, "failed", 0, 3)
    assert status.error
    assert "3 of 20 tiles" in status.error


def test_a_slide_that_lost_a_few_tiles_is_done_and_they_are_counted(tmp_path: Path) -> None:
    code, status = follow(tmp_path, [planned("a"), piece("a", 0, 9, lost=1), piece("a", 1)])
    assert (code, status.status, status.n_tiles, status.tiles_lost) == (0, "done", 19, 1)


@pytest.mark.parametrize(
    ("error", "says"),
    [(SlideError("its pieces differ"), "its pieces differ"), (OSError(28, "full"), "cannot use ")],
)
def test_a_slide_that_cannot_be_completed_fails_alone(
    tmp_path: Path, error: Exception, says: str
) -> None:
    code, status = follow(tmp_path, WHOLE, Kept(refuse=error))
    assert (code, status.status, status.n_tiles) == (1, "failed", 0)
    assert status.error
    assert status.error.startswith(says)


def test_a_slide_whose_pieces_never_came_fails_and_says_what_to_do(tmp_path: Path) -> None:
    code, status = follow(tmp_path, WHOLE[:2])
    assert (code, status.status, status.n_tiles) == (1, "failed", 0)
    assert status.error
    assert "run again" in status.error


def test_the_index_holds_this_run_and_the_ones_before(tmp_path: Path) -> None:
    out = str(tmp_path)
    outputs.put_status(out, Status("old", None, "/data/old.svs", "done", n_tiles=5))
    outputs.put_status(out, Status("b", None, "/data/b.svs", "failed", error="earlier"))
    found = work("a", "b")
    found.failed.append(Status("c", None, "/data/c.svs", "failed", error="missing"))
    found.done.append(Status("d", None, "/data/d.svs", "done", n_tiles=9))
    with Tracker("tile", out, found, Kept()) as tracker:
        for name in "ab":
            for report in (planned(name), piece(name, 0), piece(name, 1)):
                tracker.take(report)
    assert tracker.summarise() == 1
    index = pq.read_table(tmp_path / "_index.parquet").to_pylist()
    assert {row["slide_id"]: row["status"] for row in index} == {
        "a": "done", "b": "done", "c": "failed", "d": "done", "old": "done",
    }  # fmt: skip
    assert outputs.read_statuses(out)["c"].error == "missing"


def test_a_snapshot_counts_what_is_planned_settled_and_new(tmp_path: Path) -> None:
    found = work("a", "b")
    found.done.append(Status("d", None, "/data/d.svs", "done"))
    with Tracker("tile", str(tmp_path), found, Kept()) as tracker:
        tracker.stages = {"cut": 4.0}
        for report in (planned("a"), piece("a", 0, resumed=True), piece("a", 1)):
            tracker.take(report)
        now = tracker.snapshot()
        assert (now.slides, now.tiles, now.new_tiles) == (3, 20, 10)
        assert (now.planned_slides, now.planned_tiles, now.todo_slides) == (1, 20, 2)
        assert now.busy == {"plan": 1.0, "cut": 4.0}
        assert now.workers == {"cut": 4.0}
    assert tracker.snapshot().settled == 2


def test_a_run_that_breaks_keeps_what_was_settled(tmp_path: Path) -> None:
    tracker = Tracker("tile", str(tmp_path), work("a", "b"), Kept())

    def break_off() -> None:
        with tracker:
            for report in WHOLE:
                tracker.take(report)
            raise RuntimeError("the cluster is gone")

    with pytest.raises(RuntimeError, match="cluster is gone"):
        break_off()
    assert set(outputs.read_statuses(str(tmp_path))) == {"a"}


def test_a_store_that_no_longer_takes_outcomes_ends_the_run_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "_status").write_text("a file where the folder should be")
    with pytest.raises(PathrayError, match=r"^--out: cannot use .*/_status"):
        follow(tmp_path, WHOLE)


def put(path: Path) -> Callable[[str], Slide]:
    return lambda name: Slide(name, str(path / f"{name}.svs"))


def test_work_is_found_in_the_order_of_the_cohort_with_its_sources(tmp_path: Path) -> None:
    cohort = list(map(put(tmp_path), "cab"))
    for each in cohort:
        Path(each.uri).write_bytes(b"xyz")
    found = find_work(cohort, Kept())
    assert [item.slide.slide_id for item in found.todo] == ["c", "a", "b"]
    assert {item.source.size for item in found.todo} == {3}


def test_a_slide_that_is_missing_or_has_no_mask_fails_alone(tmp_path: Path) -> None:
    cohort = list(map(put(tmp_path), ["here", "gone", "maskless"]))
    for name in ("here", "maskless"):
        (tmp_path / f"{name}.svs").write_bytes(b"x")
    found = find_work(cohort, Kept())
    assert [item.slide.slide_id for item in found.todo] == ["here"]
    assert {status.slide_id: status.error for status in found.failed} == {
        "gone": f"{tmp_path}/gone.svs does not exist",
        "maskless": "mask m.png does not exist",
    }
