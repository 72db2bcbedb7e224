"""The page of a run over labelled tiles: its words, its figures, its contact sheets."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_results import TILES, class_run, tile_run

from pathray.finetuning.predictiontable import prediction_table
from pathray.finetuning.result import RunResult
from pathray.finetuning.tiles.pictures import read_pictures
from pathray.report.caveats import caveats
from pathray.report.headline import headline
from pathray.report.making import Report, make_report
from pathray.report.protocol import method, question
from pathray.report.tilesheets import ClassTiles, tile_root, tile_sheets, tiles_to_show

GREY = np.full((64, 64, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def run() -> RunResult:
    return tile_run()


@pytest.fixture(scope="module")
def report(run: RunResult) -> Report:
    uris = [row.bag for each in tiles_to_show(run) for row in (*each.right, *each.wrong)]
    return make_report(run, command="pathray finetune", pictures=dict.fromkeys(uris, GREY))


@cache
def page_of(kind: str) -> Report:
    return make_report(tile_run(kind))


def text_of(html: bytes) -> str:
    """What a reader reads: no style, no pictures, but what is said in their stead."""
    body = re.sub(r"<style>.*?</style>", "", html.decode(), flags=re.S)
    alts = " ".join(re.findall(r'alt="([^"]*)"', body))
    return re.sub(r"<[^>]*>", " ", body) + alts


@pytest.mark.parametrize("kind", ["knn", "linear", "full"])
def test_a_run_over_tiles_speaks_of_no_slide_and_of_no_patient_but_the_last_caveat(
    kind: str,
) -> None:
    said = text_of(page_of(kind).html)
    said = said.replace("diagnosis or treatment of a patient", "")
    assert re.findall(r"[^.]*(?:patient|slide)[^.]*", said) == []
    assert "groups" in said


def test_the_question_and_the_method_are_those_of_tiles(run: RunResult) -> None:
    assert question(run) == (
        "Of which class is a tile: benign or tumour? Learnt from 120 labelled tiles of 40 groups "
        "(groups: 20 benign and 20 tumour)."
    )
    model, folds, sealed = method(run)
    assert "Tiles of 224 x 224 pixels" in model
    assert "logistic regression" in model
    assert folds.startswith("Groups were divided into 5 folds")
    assert "nothing to decide" in folds
    assert sealed.startswith("A group with all tiles")
    assert "20 nearest training tiles" in method(tile_run("knn"))[0]
    tuned = method(tile_run("full"))
    assert "whole encoder mean_rgb was trained on" in tuned[0]
    assert "to decide when to stop" in tuned[1]


def test_the_headline_is_about_groups_and_the_caveats_about_tile_files(run: RunResult) -> None:
    assert headline(run).startswith("On groups the models had not seen")
    said = " ".join(caveats(run))
    assert "Tile files do not say their resolution" in said
    assert "other groups of this kind" in said


def test_only_a_training_in_epochs_has_a_figure_of_it(report: Report) -> None:
    names = [figure.name for figure in report.figures]
    assert names == [
        *("roc", "precision_recall", "confusion", "calibration", "probabilities", "forest")
    ]
    tuned = page_of("full")
    assert tuned.figures[-1].name == "training"
    assert "epoch kept" in text_of(tuned.html)
    assert "epoch kept" not in text_of(report.html)


def test_tiles_are_named_below_their_folder(run: RunResult, report: Report) -> None:
    told = json.loads(report.json)
    assert told["provenance"]["tiles"] == tile_root(run) == f"{TILES}/"
    assert told["predictions"][0]["bag"] == "benign/g00-0.png"
    assert report.html.decode().count(TILES) == 1


def test_a_sheet_has_the_surest_tiles_of_a_class_right_and_wrong_one_a_group(
    run: RunResult,
) -> None:
    benign, tumour = tiles_to_show(run)
    assert (benign.name, tumour.name) == ("benign", "tumour")
    for each in (benign, tumour):
        assert all(row.truth == each.name for row in (*each.right, *each.wrong))
        assert all(row.right for row in each.right)
        assert not any(row.right for row in each.wrong)
        for rows in (each.right, each.wrong):
            assert 0 < len(rows) <= 8
            assert len({row.patient for row in rows}) == len(rows)
            sure = [row.confidence for row in rows]
            assert sure == sorted(sure, reverse=True)


def test_every_tile_of_a_sheet_says_what_it_was_taken_for(report: Report) -> None:
    html = report.html.decode()
    assert html.count("data:image/jpeg") == 4
    wrong = re.findall(r"<span>(tumour|benign) 0\.\d\d</span>", html)
    assert set(wrong) == {"tumour", "benign"}


def test_tiles_that_cannot_be_read_are_left_out_of_a_sheet(tmp_path: Path, run: RunResult) -> None:
    (shown, *_) = tiles_to_show(run)
    cv2.imwrite(str(tmp_path / "whole.png"), GREY)
    (tmp_path / "damaged.png").write_bytes(b"no picture")
    there, damaged, gone = (
        replace(row, bag=str(tmp_path / name))
        for row, name in zip(shown.right, ("whole.png", "damaged.png", "gone.png"), strict=False)
    )
    found = read_pictures([ClassTiles("benign", (there, damaged, gone), ())])
    assert list(found) == [there.bag]
    assert tile_sheets(run, {shown.right[1].bag: GREY})[0][1][0].said == (
        f"{shown.right[1].confidence:.2f}",
    )
    assert tile_sheets(run, {}) == []


def test_many_classes_do_not_make_a_page_too_large() -> None:
    many = class_run([f"class {n:02}" for n in range(25)], patients=150, resamples=10)
    assert len(tiles_to_show(many)) == 20


def test_the_table_of_predictions_names_tile_and_group(run: RunResult, tmp_path: Path) -> None:
    pq.write_table(prediction_table(run), tmp_path / "t.parquet")
    row = pq.read_table(tmp_path / "t.parquet").to_pylist()[0]
    assert row["path"].startswith(f"{TILES}/")
    assert row["path"].rsplit("/", 1)[-1].startswith(row["group"])
    assert "slide_id" not in row
    assert "patient_id" not in row
