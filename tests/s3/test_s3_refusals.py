"""A store that refuses is told in one line, with the cure, and before any work is begun."""

from pathlib import Path

import pytest
from conftest import Command, Outcome, moto_only, rclone_only
from servers import Bucket, Server, free_port, set_environment

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def _assert_refused(outcome: Outcome, *told: str) -> None:
    assert outcome.code == 2, outcome.text
    assert len(outcome.text.splitlines()) == 1, outcome.text
    for part in told:
        assert part in outcome.text


def _jobs(slides: str, out: str) -> list[tuple[str, ...]]:
    flags = ("--slides", slides, "--out", out, "--mpp", "native")
    return [("tile", *flags), ("embed", *flags, "--encoder", "mean_rgb")]


@rclone_only
@pytest.mark.parametrize("wrong", KEYS)
def test_wrong_keys_are_told_with_the_store_and_the_variables(
    bucket: Bucket,
    server: Server,
    request_only: Command,
    drawn_slide: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    wrong: str,
) -> None:
    bucket.put("slides/drawn.tif", drawn_slide)
    set_environment(monkeypatch, server.environment() | {wrong: "mistyped"})
    one_slide, prefix = bucket.uri("slides/drawn.tif"), bucket.uri("slides")
    for slides in (one_slide, prefix, f"{prefix}/*.tif"):
        for job in _jobs(slides, str(tmp_path / "out")):
            _assert_refused(request_only(*job), "--slides", slides, *KEYS)
    for job in _jobs(str(drawn_slide), bucket.uri("out")):
        _assert_refused(request_only(*job), "--out", bucket.uri("out"), *KEYS)
    assert not (tmp_path / "out").exists()


def test_a_missing_bucket_is_named(
    bucket: Bucket, request_only: Command, drawn_slide: Path, tmp_path: Path
) -> None:
    missing = f"s3://{bucket.name}-missing/slides"
    for slides in (missing, f"{missing}/drawn.tif", f"{missing}/cohort.csv"):
        for job in _jobs(slides, str(tmp_path / "out")):
            _assert_refused(request_only(*job), "--slides", slides, "does not exist")
    for job in _jobs(str(drawn_slide), missing):
        _assert_refused(request_only(*job), "--out", missing, "does not exist")
    tiles = ("--tiles", missing, "--out", str(tmp_path / "out"), "--encoder", "mean_rgb")
    _assert_refused(request_only("embed", *tiles), "--tiles", missing)


def test_an_empty_prefix_and_one_without_slides_are_told(
    bucket: Bucket, request_only: Command, tmp_path: Path
) -> None:
    bucket.put("notes/readme.txt", b"no slide")
    out = str(tmp_path / "out")
    for job in _jobs(bucket.uri("nothing"), out):
        _assert_refused(request_only(*job), "--slides", bucket.uri("nothing"), "does not exist")
    for job in _jobs(bucket.uri("notes"), out):
        _assert_refused(request_only(*job), "--slides", bucket.uri("notes"), "no slide among")
    for job in _jobs(bucket.uri("*.svs"), out):
        _assert_refused(request_only(*job), "--slides", "nothing matches")


@moto_only
def test_an_output_prefix_that_holds_other_things_is_refused(
    bucket: Bucket, request_only: Command, drawn_slide: Path
) -> None:
    bucket.put("out/thesis.docx", b"precious")
    before = bucket.objects()
    for job in _jobs(str(drawn_slide), bucket.uri("out")):
        _assert_refused(request_only(*job), "--out", bucket.uri("out"), "thesis.docx")
    assert bucket.objects() == before


@moto_only
def test_a_store_that_cannot_be_reached_is_told(
    server: Server,
    request_only: Command,
    drawn_slide: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    closed = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    set_environment(monkeypatch, server.environment() | closed)
    slides = _jobs("s3://cohort/slides", str(tmp_path / "out"))[0]
    _assert_refused(request_only(*slides), "--slides", "s3://cohort/slides", "AWS_ENDPOINT_URL")
    set_environment(monkeypatch, server.environment() | closed | {"AWS_MAX_ATTEMPTS": "1"})
    out = _jobs(str(drawn_slide), "s3://cohort/out")[0]
    _assert_refused(request_only(*out), "--out", "s3://cohort/out", "AWS_ENDPOINT_URL")
