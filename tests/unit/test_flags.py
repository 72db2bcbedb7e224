"""A job's flags: one model, from the command line, a file or Python."""

from pathlib import Path
from typing import Any

import pytest

from jobs.convert import ConvertFlags
from jobs.embed import Flags as EmbedFlags
from jobs.flags import parse, validate
from jobs.tile import Flags
from pathray.errors import RequestError

NEEDED = ["--slides", "slides/", "--out", "out/"]


def refusal(*argv: str, model: type[Any] = Flags) -> str:
    """The one line that these flags are refused with."""
    with pytest.raises(RequestError) as caught:
        parse(model, argv, "pathray tile")
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 300
    return text


def config(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "job.yaml").write_text(text)
    return ["--config", str(tmp_path / "job.yaml")]


def test_flags_are_typed_by_the_model() -> None:
    flags = parse(Flags, [*NEEDED, "--tile-size", "256", "--mpp", "0.5", "--lossless"], "pathray")
    assert (flags.tile_size, flags.mpp, flags.lossless) == (256, 0.5, True)
    assert (flags.stride, flags.seed, flags.min_tissue) == (None, 0, 0.75)
    assert parse(Flags, [*NEEDED, "--mpp=native", "--no-lossless"], "pathray").mpp == "native"


def test_an_unknown_flag_is_named() -> None:
    assert "--tilesize" in refusal(*NEEDED, "--tilesize", "256")


def test_a_flag_is_not_guessed_from_its_beginning() -> None:
    assert "--tile-s" in refusal(*NEEDED, "--tile-s", "256")


def test_a_missing_flag_is_named() -> None:
    assert refusal("--slides", "slides/") == "--out is required"


def test_an_argument_without_dashes_is_named_without_them() -> None:
    assert refusal("--format", "hf", "--out", "o", model=ConvertFlags) == "checkpoint is required"
    flags = parse(ConvertFlags, ["a.pth", "--format", "hf", "--out", "o"], "pathray convert")
    assert flags.checkpoint == "a.pth"


def test_a_flag_without_its_value_is_named() -> None:
    assert "--out: expected one argument" in refusal("--slides", "slides/", "--out")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--tile-size", "big"), ("--tile-size", "0"), ("--tile-size", "1.5"), ("--mpp", "fine"),
        ("--mpp", "0"), ("--mpp", "-1"), ("--mpp", "nan"), ("--mpp", "inf"), ("--seed", "-1"),
        ("--min-tissue", "1.5"), ("--reader", "other"), ("--assume-mpp", "250"), ("--out", ""),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_flag(flag: str, value: str) -> None:
    text = refusal(*NEEDED, flag, value)
    assert text.startswith(f"{flag} ")
    assert value in text


def test_embed_refuses_a_wrong_mpp_too() -> None:
    needed = [*NEEDED, "--encoder", "mean-rgb"]
    assert refusal(*needed, "--mpp", "-1", model=EmbedFlags).startswith("--mpp ")
    assert parse(EmbedFlags, needed, "pathray").mpp is None


def test_flags_that_contradict_are_told_in_a_short_line() -> None:
    text = refusal("--out", "o", "--encoder", "e", model=EmbedFlags)
    assert text == "give either --slides or --tiles"
    text = refusal("--out", "o", "--encoder", "e", "--tiles", "t", "--mpp", "1", model=EmbedFlags)
    assert text == "--mpp has no meaning with --tiles: the shards are cut already"


def test_flags_come_from_a_file_and_the_command_line_wins(tmp_path: Path) -> None:
    file = config(
        tmp_path, "slides: slides/\nout: out/\ntile-size: 512\nmin_tissue: 0.5\nmpp: native\n"
    )
    flags = parse(Flags, [*file, "--tile-size", "128"], "pathray")
    assert (flags.slides, flags.tile_size, flags.min_tissue) == ("slides/", 128, 0.5)
    assert flags.mpp == "native"


def test_a_switch_of_the_file_is_turned_off_by_the_command_line(tmp_path: Path) -> None:
    file = config(tmp_path, "lossless: true\n")
    assert parse(Flags, [*NEEDED, *file], "pathray").lossless
    assert not parse(Flags, [*NEEDED, *file, "--no-lossless"], "pathray").lossless


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tilesize: 256\n", "unknown flag --tilesize"),
        ("tile_size: big\n", "--tile-size 'big': "),
        ("slides: [a, b]\n", "--slides ['a', 'b']: "),
        ("- tile_size\n", "is not a mapping"),
        ("", "is not a mapping"),
        ("a: b: c\n  - d\n", "cannot read"),
        ("config: other.yaml\n", "unknown flag --config"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = config(tmp_path, text)
    needed = ["--out", "o"] if text.startswith("slides") else NEEDED
    assert says in refusal(*needed, *file)


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    assert "does not exist" in refusal("--config", str(tmp_path / "nothing.yaml"))
    assert "cannot read" in refusal("--config", str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes("out: ä".encode("latin-1"))
    assert "cannot read" in refusal("--config", str(tmp_path / "latin.yaml"))


def test_flags_come_from_python_and_cannot_be_changed() -> None:
    flags = validate(Flags, {"slides": "a", "out": "b", "tile_size": 64})
    assert flags.tile_size == 64
    with pytest.raises(ValueError, match="frozen"):
        flags.tile_size = 65
    with pytest.raises(RequestError, match="unknown flag --tilesize"):
        validate(Flags, {"slides": "a", "out": "b", "tilesize": 64})


def test_help_tells_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(Flags, ["--help"], "pathray tile")
    assert caught.value.code == 0
    told = capsys.readouterr().out
    for name in Flags.model_fields:
        assert "--" + name.replace("_", "-") in told
    assert "(default: 224)" in told
    assert "X|native" in told
    assert "(required)" in told


def test_the_flags_are_the_librarys_settings(tmp_path: Path) -> None:
    argv = [*NEEDED, "--mpp-tolerance", "0.2", "--stride", "112", "--cache-gb", "0.5"]
    flags = parse(Flags, [*argv, "--cache-dir", str(tmp_path)], "pathray")
    tiling = flags.tiling(224, 0.25)
    assert (tiling.tolerance, tiling.stride, tiling.tile_size) == (0.2, 112, 224)
    assert (flags.spool().folder, flags.spool().limit_bytes) == (tmp_path, 500_000_000)
