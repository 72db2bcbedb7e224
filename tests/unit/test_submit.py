"""`pathray submit` before anything leaves this machine."""

import io
import json
import os
from contextlib import redirect_stdout
from pathlib import Path
from random import Random

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import main
from jobs.codepackage import put_package
from jobs.embed import Flags as EmbedFlags
from jobs.flags import argv_of, parse
from jobs.joblog import JobLog, readable
from jobs.submission import Submission
from jobs.submit import Flags, checked, submission_id
from jobs.submitted import ENVIRONMENT, run

TILE = ("--slides", "s3://b/slides/", "--out", "s3://b/tiles/")
EMBED = ("--slides", "a b.csv", "--out", "o", "--encoder", "mean_rgb")


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["submit", *argv]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    return told.err


def test_what_follows_the_dashes_is_the_jobs() -> None:
    flags = parse(Flags, ["tile", "--detach", "--", *TILE, "--", "x"], "pathray submit")
    assert (flags.job, flags.detach, flags.flags) == ("tile", True, (*TILE, "--", "x"))
    assert parse(Flags, ["tile"], "pathray submit").flags == ()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["tile", "--render", "--", "--slides", "x"], "--out is required"),
        (["tile", "--render", "--", *TILE, "--tilesize", "3"], "--tilesize 3"),
        (["tile", *TILE], "see `pathray submit --help`"),
        (["tiles", "--render"], "'tiles' is not a job for a cluster; these are: tile, embed"),
        (["submit", "--render"], "is not a job for a cluster"),
        (["tile", "--", *TILE], "--address is needed, as http://HOST:8265"),
        (["tile", "--address", "ray://h:10001", "--", *TILE], "--address is needed"),
        (["tile", "--address", "http://h", "--env", "NOT_SET_HERE", "--", *TILE], "NOT_SET_HERE"),
        (["tile", "--render", "--env", "HOME", "--", *TILE], "--env has no place in a manifest"),
        (["tile", "--submission-id", "No Name", "--render", "--", *TILE], "--submission-id"),
    ],
)
def test_a_wrong_request_never_leaves_this_machine(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refusal(capsys, *argv)


def test_a_file_of_flags_is_read_here(tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    config.write_text("slides: s3://b/\nout: o\nlossless: true\nassume-mpp: 0.25\n")
    argv = checked("tile", ("--config", str(config), "--seed", "3", "--no-lossless"))
    told = "--no-lossless --assume-mpp=0.25 --out=o --seed=3 --slides=s3://b/"
    assert sorted(argv) == sorted(told.split())


def test_the_command_line_of_flags_gives_the_same_flags() -> None:
    flags = parse(EmbedFlags, [*EMBED, "--mpp", "native", "--random-init"], "pathray")
    again = parse(EmbedFlags, argv_of(flags), "pathray")
    assert again == flags
    assert again.model_fields_set == flags.model_fields_set


def test_a_flag_that_has_another_name_in_python_keeps_its_own() -> None:
    told = ("--embeddings", "e", "--cohort", "c", "--target", "t", "--out", "o", "--register", "m")
    argv = checked("finetune", (*told, "--patient-id", "tcga"))
    assert "--register=m" in argv
    assert checked("finetune", tuple(argv)) == argv


def test_the_same_request_has_the_same_identifier() -> None:
    first = submission_id("tile", checked("tile", TILE))
    assert first == submission_id("tile", checked("tile", (*TILE[2:], *TILE[:2])))
    assert first != submission_id("tile", checked("tile", (*TILE, "--seed", "1")))
    assert first.startswith("pathray-tile-")


def test_words_with_spaces_stay_words() -> None:
    submission = Submission("embed", checked("embed", EMBED), "id", True, {}, False)
    assert "'--slides=a b.csv'" in submission.entrypoint()


def test_a_rayjob_is_printed_without_asking_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "tile", "--render", "--cluster", "mine", "--", *TILE]) == 0
    job = yaml.safe_load(capsys.readouterr().out)
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": "mine"}
    assert (
        job["spec"]["jobId"]
        == job["metadata"]["name"]
        == submission_id("tile", checked("tile", TILE))
    )
    assert job["spec"]["entrypoint"] == "pathray tile --out=s3://b/tiles/ --slides=s3://b/slides/"
    assert not {"backoffLimit", "suspend", "rayClusterSpec"} & set(job["spec"])


@given(st.text("ab\n", max_size=60), st.lists(st.integers(0, 60), max_size=6), st.randoms())
def test_a_log_is_printed_once_whatever_the_pieces_and_breaks(
    whole: str, breaks: list[int], random: Random
) -> None:
    log, printed = JobLog(), io.StringIO()
    with redirect_stdout(printed):
        for broken_at in breaks:  # followed from the beginning, up to where the connection broke
            position = 0
            while position < min(broken_at, len(whole)):
                size = random.randint(1, 5)
                piece = whole[: min(broken_at, len(whole))][position : position + size]
                log.take(position, piece)
                position += len(piece)
        log.end(whole)
    assert printed.getvalue() == whole + ("" if whole.endswith("\n") or not whole else "\n")


def test_structured_lines_are_told_as_a_person_reads_them() -> None:
    progress = '{"time": "t", "event": "progress", "job": "tile", "told": "tile: 1/2 slides"}'
    assert readable(progress) == "tile: 1/2 slides"
    slide = '{"time": "t", "event": "slide", "slide_id": "a", "error": %s}'
    assert readable(slide % '"no mpp"') == "failed a: no mpp"
    assert readable(slide % "null") is None
    assert readable('{"time": broken') == '{"time": broken'
    assert readable("plain") == "plain"


def test_the_package_holds_the_code_and_nothing_else(tmp_path: Path) -> None:
    put_package(tmp_path, code=True, environment={})
    assert {path.name for path in tmp_path.iterdir()} == {"jobs", "pathray"}
    assert (tmp_path / "jobs" / "submitted.py").exists()
    assert (tmp_path / "pathray" / "slides" / "tiff.py").exists()
    assert not list(tmp_path.rglob("__pycache__"))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size < 5_000_000


def test_the_environment_travels_as_a_file_of_the_owner(tmp_path: Path) -> None:
    put_package(tmp_path, code=False, environment={"AWS_SECRET_ACCESS_KEY": "s"})
    (sent,) = tmp_path.iterdir()
    assert sent.name == ENVIRONMENT
    assert sent.stat().st_mode & 0o777 == 0o600


def test_the_command_runs_in_the_environment_that_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ENVIRONMENT).write_text(json.dumps({"SENT": "yes"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENT", "no")
    monkeypatch.setattr("sys.argv", ["submitted", "--version"])
    assert run() == 0
    assert os.environ["SENT"] == "yes"
