"""An output folder: claimed by its settings, refused to others, indexed."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pathray import outputs, storage
from pathray.errors import RequestError
from pathray.outputs import Status

SETTINGS = {"kind": "tiles", "tile_size": 224, "mpp": 0.25, "tiles_per_slide": None}


@pytest.fixture(params=["local", "memory"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh output folder or prefix."""
    return str(tmp_path / "out") if request.param == "local" else f"memory://out-{tmp_path.name}"


def status(slide_id: str, outcome: outputs.Outcome = "done", n: int = 10, lost: int = 0) -> Status:
    return Status(
        slide_id, None, f"s3://bucket/{slide_id}.svs", outcome, n_tiles=n, tiles_lost=lost
    )


def test_a_new_folder_is_claimed_and_the_same_settings_resume(out: str) -> None:
    outputs.put_settings(out, SETTINGS)
    outputs.put_settings(out, dict(reversed(SETTINGS.items())))
    assert json.loads(storage.read_bytes(storage.join(out, "_settings.json"))) == SETTINGS


def test_other_settings_are_refused_and_the_setting_is_named(out: str) -> None:
    outputs.put_settings(out, SETTINGS)
    with pytest.raises(RequestError, match=r"other settings: mpp is 0\.25 there and 0\.5 now"):
        outputs.put_settings(out, SETTINGS | {"mpp": 0.5})
    with pytest.raises(RequestError, match=r"kind is 'tiles' there and 'embeddings' now"):
        outputs.put_settings(out, SETTINGS | {"kind": "embeddings"})
    with pytest.raises(RequestError, match=r"encoder_digest is None there and 'abc' now"):
        outputs.put_settings(out, SETTINGS | {"encoder_digest": "abc"})


def test_settings_are_compared_as_json_holds_them(out: str) -> None:
    outputs.put_settings(out, SETTINGS | {"bounds": (1, 2)})
    outputs.put_settings(out, SETTINGS | {"bounds": (1, 2)})


def test_a_folder_of_something_else_is_refused(out: str) -> None:
    storage.put_bytes(storage.join(out, "thesis.docx"), b"x")
    for claim in (lambda: outputs.put_settings(out, SETTINGS), lambda: outputs.refuse_foreign(out)):
        with pytest.raises(RequestError, match=r"did not write \(thesis\.docx.*empty or new"):
            claim()
    assert [entry.name for entry in storage.list_objects(out)] == ["thesis.docx"]


def test_a_file_is_refused_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(RequestError, match="is a file; give a folder or prefix"):
        outputs.put_settings(str(tmp_path / "out"), SETTINGS)


def test_a_claim_that_was_killed_half_written_does_not_block_the_folder(tmp_path: Path) -> None:
    (tmp_path / f"{storage.UNFINISHED}0123").write_text("{")
    outputs.put_settings(str(tmp_path), SETTINGS)
    assert storage.exists(str(tmp_path / "_settings.json"))


def test_a_folder_that_cannot_be_made_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match=r"^--out: ") as caught:
        outputs.put_settings(str(tmp_path / "file" / "out"), SETTINGS)
    assert "\n" not in str(caught.value)


def test_outcomes_are_read_back_by_slide(out: str) -> None:
    mine = [status("b"), status("a µ", "failed"), status("c", "empty")]
    for each in mine:
        outputs.put_status(out, each)
    assert outputs.read_statuses(out) == {each.slide_id: each for each in mine}


@pytest.mark.parametrize("text", [b"{", b'{"slide": 1}', b"[]"])
def test_a_damaged_outcome_is_named_in_one_line(out: str, text: bytes) -> None:
    storage.put_bytes(storage.join(out, "_status", "a.json"), text)
    with pytest.raises(RequestError, match=r"_status/a\.json is no outcome of a slide: remove it"):
        outputs.read_statuses(out)


def test_a_new_folder_has_no_outcomes(out: str) -> None:
    assert outputs.read_statuses(out) == {}
    assert outputs.staged_pieces(out) == {}


def test_the_index_has_a_row_a_slide_sorted_by_id(out: str) -> None:
    uri = outputs.put_index(out, [status("b", "failed", 0), status("a")])
    with storage.open_for_reading(uri) as file:
        table = pq.read_table(file)
    assert table.schema.names == [
        "slide_id", "patient_id", "uri", "status", "n_tiles", "tiles_lost", "seconds",
        "bytes_read", "reader", "error",
    ]  # fmt: skip
    assert table["slide_id"].to_pylist() == ["a", "b"]
    assert table["status"].to_pylist() == ["done", "failed"]


def test_an_index_of_no_slides_has_the_same_columns(out: str) -> None:
    with storage.open_for_reading(outputs.put_index(out, [])) as file:
        table = pq.read_table(file)
    assert (table.num_rows, table.schema.remove_metadata()) == (0, outputs.INDEX_SCHEMA)


def test_staged_pieces_are_found_by_slide(out: str) -> None:
    for slide_id, number in (("a", 0), ("a", 12), ("b-00001", 3)):
        storage.put_bytes(outputs.staged_piece(out, slide_id, number), b"x")
    assert outputs.staged_pieces(out) == {"a": [0, 12], "b-00001": [3]}


@pytest.mark.parametrize(
    ("n", "lost", "limit", "fails"),
    [(99, 1, 0.01, False), (98, 2, 0.01, True), (0, 0, 0.0, False), (10, 1, 0.0, True),
     (0, 10, 1.0, False)],
)  # fmt: skip
def test_a_slide_fails_by_the_share_of_tiles_it_lost(
    n: int, lost: int, limit: float, fails: bool
) -> None:
    reason = outputs.too_many_lost(status("a", n=n, lost=lost), limit)
    assert (reason is not None) == fails
    if reason:
        assert f"{lost} of {n + lost} tiles" in reason
        assert "--max-tiles-lost" in reason
