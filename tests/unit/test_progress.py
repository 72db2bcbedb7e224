"""What a person is told of a run."""

from dataclasses import replace

import pytest

from jobs.progress import SHOWN_FAILURES, Progress, Snapshot
from pathray.outputs import Status

RUN = Snapshot(
    slides=10,
    settled=4,
    failed=1,
    tiles=3000,
    new_tiles=2000,
    planned_slides=5,
    planned_tiles=5000,
    todo_slides=8,
    seconds=100.0,
    busy={"plan": 50.0, "cut": 150.0},
    workers={"plan": 2.0, "cut": 2.0},
)
BEGUN = Snapshot(10, 0, 0, 0, 0, 0, 0, 10, 0.0, {}, {})


def test_the_rate_is_of_new_tiles() -> None:
    assert RUN.rate == pytest.approx(20.0)
    assert BEGUN.rate == 0.0


def test_the_time_to_go_takes_unplanned_slides_for_average_ones() -> None:
    # 1,000 tiles a slide, 8 slides to do, 3,000 tiles there, 20 a second.
    assert RUN.eta_seconds == pytest.approx(250.0)


def test_the_time_to_go_is_unknown_at_first_and_never_negative() -> None:
    assert BEGUN.eta_seconds is None
    assert replace(RUN, new_tiles=0).eta_seconds is None
    assert replace(RUN, tiles=100_000).eta_seconds == 0.0


def test_a_stages_share_is_of_its_own_workers() -> None:
    assert RUN.shares() == pytest.approx({"plan": 0.25, "cut": 0.75})
    assert replace(RUN, seconds=1.0).shares() == {"plan": 1.0, "cut": 1.0}
    assert replace(RUN, workers={}).shares()["plan"] == pytest.approx(0.5)


def test_a_run_is_told_in_one_line_with_its_bottleneck() -> None:
    assert RUN.line("tile") == (
        "tile: 4/10 slides · 3,000 tiles · 1 failed · 20 tiles/s · 4:10 to go · "
        "bottleneck: cut (75% busy)"
    )


def test_a_run_that_only_starts_says_so() -> None:
    assert BEGUN.line("embed") == "embed: 0/10 slides · 0 tiles · starting"


def test_hours_are_told_as_hours() -> None:
    assert "2:46:40 to go" in replace(RUN, new_tiles=50).line("tile")


def status(slide_id: str, outcome: str = "done", error: str | None = None) -> Status:
    return Status(slide_id, None, slide_id, outcome, n_tiles=100, tiles_lost=1, error=error)  # type: ignore[arg-type]


def test_the_summary_says_what_was_done_what_failed_and_where_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    statuses = [status("a"), status("b"), status("c", "empty"), status("d", "failed", "no mpp")]
    Progress("tile", lambda: RUN).summary(RUN, 1, statuses, "out/_index.parquet")
    told = capsys.readouterr().out
    assert "4 slides: 2 done (1 of them before this run), 1 without tissue, 1 failed" in told
    assert "2,000 in this run, 1:40, 20 a second" in told
    assert "4 lost" in told
    assert "failed  d: no mpp" in told
    assert told.endswith("index   out/_index.parquet\n")


def test_a_summary_of_many_failures_lists_some_and_counts_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    statuses = [status(f"s{i}", "failed", "no mpp") for i in range(SHOWN_FAILURES + 5)]
    Progress("tile", lambda: RUN).summary(RUN, 0, statuses, "index")
    told = capsys.readouterr().out
    assert told.count("no mpp") == SHOWN_FAILURES
    assert "and 5 more, in the index" in told


def test_progress_that_was_never_started_can_be_stopped() -> None:
    Progress("tile", lambda: RUN).stop()
