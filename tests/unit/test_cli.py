"""The `pathray` command: exit codes, one line for what is wrong, a fast --help."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import JOBS, main
from pathray.errors import SlideError

ROOT = Path(__file__).parents[2]
HEAVY = ("ray", "torch", "pyarrow", "cv2", "openslide", "timm", "transformers", "pandas", "s3fs")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "platform"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("job", JOBS)
def test_help_imports_nothing_heavy(job: str) -> None:
    script = f"""
import sys
from jobs.cli import main
try:
    main(["{job}", "--help"])
except SystemExit as end:
    assert end.code == 0
print("loaded:", *[name for name in {HEAVY} if name in sys.modules])
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: pathray {job}")
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_a_wrong_request_is_exit_code_2_and_one_line() -> None:
    done = python("-m", "jobs", "tile", "--out", "out")
    assert done.returncode == 2
    assert done.stderr == "pathray: --slides is required\n"
    assert done.stdout == ""


def test_every_job_that_is_listed_is_there() -> None:
    assert [job for job in JOBS if importlib.util.find_spec(f"jobs.{job}") is None] == []


def test_without_a_job_the_usage_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(told.count(f"\n  {job} ") == 2 for job in JOBS)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("pathray 0.")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["tiles"], "unknown job 'tiles'; jobs: tile, embed"),
        (["tile"], "is required"),
        (["tile", "--slides", "x", "--out", "y", "--tilesize", "3"], "--tilesize"),
        (["embed", "--out", "y", "--encoder", "mean-rgb"], "give either --slides or --tiles"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    told = capsys.readouterr()
    assert told.err.startswith("pathray: ")
    assert told.err.count("\n") == 1
    assert says in told.err
    assert told.out == ""


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (SlideError("one slide"), 1, "pathray: one slide"),
        (KeyboardInterrupt(), 130, "pathray: interrupted; the same command resumes"),
    ],
)
def test_what_ends_a_job_early_is_one_line(
    error: BaseException,
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(_: object) -> int:
        raise error

    monkeypatch.setattr("jobs.tile.run", run)
    assert main(["tile", "--slides", "x", "--out", "y"]) == code
    assert capsys.readouterr().err == f"{says}\n"
