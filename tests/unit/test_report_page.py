"""The page of a report: complete in itself, true to its JSON, safe, the same every time."""

import base64
import json
import re
import warnings
from html.parser import HTMLParser
from typing import Any

import cv2
import numpy as np
import pytest
from made_results import class_run, one_fold, patients_of, survival_run

from pathray.finetuning.result import RunResult
from pathray.report.caveats import caveats
from pathray.report.headline import headline
from pathray.report.making import Report, make_report
from pathray.report.predictions import (
    predicted_classes,
    predicted_risks,
    worst_classes,
    worst_risks,
)
from pathray.report.protocol import method, question
from pathray.report.sheets import TILES, Sheet, jpeg, slides_to_show

HOSTILE = '<script>alert("x")</script>'
COMMAND = "pathray finetune --target subtype"


class _Read(HTMLParser):
    """Tags, attributes, and the text of every element that names its place in the JSON."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.cells: list[tuple[str, str]] = []
        self.text = ""
        self._path: str | None = None
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._path = dict(attrs).get("data-path")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._path is not None:
            self.cells.append((self._path, data))
            self._path = None


def sheets_of(result: RunResult) -> list[Sheet]:
    grey = np.full((224, 224, 3), 128, np.uint8)
    slides = slides_to_show(result, patients_of(result))
    return [Sheet(slide, [grey] * len(slide.most), [grey] * len(slide.least)) for slide in slides]


@pytest.fixture(scope="module")
def classes() -> RunResult:
    return class_run()


@pytest.fixture(scope="module")
def survival() -> RunResult:
    return survival_run(protocol="monte_carlo")


@pytest.fixture(scope="module", params=["classes", "survival"])
def report(request: pytest.FixtureRequest) -> Report:
    result = request.getfixturevalue(request.param)
    return make_report(result, sheets_of(result), COMMAND)


def strict_json(data: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(data, parse_constant=refuse)


def at(told: Any, path: str) -> Any:
    for step in path.split("."):
        told = told[int(step)] if isinstance(told, list) else told[step]
    return told


def test_a_page_asks_for_nothing_outside_itself(report: Report) -> None:
    read = _Read(report.html)
    assert not {"script", "link", "iframe", "object", "base"} & set(read.tags)
    sources = [value for _, name, value in read.attributes if name in ("src", "href", "srcset")]
    assert len(sources) >= len(report.figures)
    assert all(source.startswith("data:image/") for source in sources)
    style = re.search(rb"<style>(.*?)</style>", report.html, re.S)
    assert style
    assert b"url(" not in style[1]
    assert b"@import" not in style[1]


def test_the_drawings_within_a_page_ask_for_nothing_either(report: Report) -> None:
    for figure in report.figures:
        links = re.findall(rb'(?:href|src)="([^"]*)"', figure.svg)
        assert all(link.startswith((b"#", b"data:")) for link in links)
        assert b"<script" not in figure.svg
        assert base64.b64encode(figure.svg) in report.html


def test_every_number_of_a_table_is_the_one_of_the_json(report: Report) -> None:
    told, cells = strict_json(report.json), _Read(report.html).cells
    assert len(cells) > 200
    for path, text in cells:
        value = at(told, path)
        if value is None:
            assert text == "undefined"
        else:
            digits = len(text.partition(".")[2])
            assert abs(float(text.replace(",", "")) - value) <= 0.5 * 10**-digits + 1e-9, path


def test_every_measure_of_every_fold_is_on_the_page(report: Report) -> None:
    evaluation = strict_json(report.json)["evaluation"]
    shown = {path for path, _ in _Read(report.html).cells}
    for name in evaluation["overall"]:
        assert f"evaluation.overall.{name}.value" in shown
        for row in range(len(evaluation["folds"])):
            assert f"evaluation.folds.{row}.scores.{name}.value" in shown


def test_equal_input_gives_equal_bytes_with_the_evaluation_as_it_was(classes: RunResult) -> None:
    first = make_report(classes, sheets_of(classes), COMMAND)
    again = make_report(
        RunResult.model_validate_json(classes.model_dump_json()), sheets_of(classes), COMMAND
    )
    assert first.files() == again.files()
    assert strict_json(first.json)["evaluation"] == json.loads(classes.evaluation.to_json())


def test_every_picture_has_words_for_those_who_cannot_see_it(report: Report) -> None:
    read = _Read(report.html)
    words = [value for tag, name, value in read.attributes if (tag, name) == ("img", "alt")]
    assert len(words) == read.tags.count("img")
    assert all(len(text) > 20 for text in words)
    assert read.tags.count("h1") == 1


def test_names_cannot_become_markup() -> None:
    result = class_run(
        (HOSTILE, "b&b</style>"), patients=30, resamples=20, prefix=HOSTILE, target=HOSTILE
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = make_report(result, sheets_of(result), HOSTILE)
    read = _Read(report.html)
    assert "script" not in read.tags
    assert HOSTILE in read.text
    assert b"<script" not in report.html
    assert all(b"<script" not in figure.svg for figure in report.figures)


def test_names_in_other_scripts_and_with_signs_are_only_text() -> None:
    result = class_run(("_肺腺癌", "$\\frac$\x00\n{"), patients=30, resamples=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = make_report(result)
    roc = report.figures[0].svg
    assert "_肺腺癌".encode() in roc
    assert b"$\\frac$ {" in roc
    assert b"\x00" not in roc


def test_the_headline_states_the_measure_with_its_interval(
    classes: RunResult, survival: RunResult
) -> None:
    auc = classes.evaluation.overall["auc"]
    assert headline(classes) == (
        f"On patients the models had not seen, the AUC was {auc.value:.2f} "
        f"(95% interval {auc.low:.2f} to {auc.high:.2f})."
    )
    assert re.search(
        r"the C-index was 0\.\d\d \(95% .*log-rank p (<|=) 0\.\d+\.$", headline(survival)
    )


def test_the_question_and_the_method_are_told_in_sentences(
    classes: RunResult, survival: RunResult
) -> None:
    assert question(classes) == (
        "Which “subtype” is it: LUAD or LUSC? Predicted from 69 slides of 60 patients "
        "(patients: 30 LUAD and 30 LUSC; 27,600 tiles in all)."
    )
    assert "with the event" in question(survival)
    model, folds, sealed = method(classes)
    assert "a vector of 768 numbers (beph); the aggregator clam_sb" in model
    assert folds == (
        "Patients were divided into 5 folds, each of them the test of one model. Each model had "
        "42 patients to learn from, 6 patients to decide when to stop, and 12 patients to be "
        "tested on."
    )
    assert "in one part only" in sealed
    assert "Monte-Carlo" in method(survival)[1]


def test_what_weakens_a_result_is_said() -> None:
    weak = " ".join(caveats(class_run(patients=24, strength=0.0, protocol="monte_carlo")))
    assert "do not show that the models do better than chance" in weak
    assert "wide" in weak
    assert "Few patients of LUAD (12) and LUSC (12)" in weak
    assert "tested several times" in weak
    assert "of 24 patients were ever tested" in weak
    few = " ".join(caveats(survival_run(patients=40, events=0.2)))
    assert re.search(r"Only \d+ events", few)
    assert "not comparable" in few


def test_a_sound_result_has_only_the_caveats_of_every_run() -> None:
    assert len(caveats(class_run(patients=120))) == 3


def test_a_training_that_was_cut_short_is_told(classes: RunResult) -> None:
    fold = classes.folds[1]
    short = fold.model_copy(update={"best_epoch": fold.history[-1].epoch})
    cut = classes.model_copy(update={"folds": (classes.folds[0], short, *classes.folds[2:])})
    told = "The last epoch was the best one in 1 fold (1): with more epochs"
    assert any(sentence.startswith(told) for sentence in caveats(cut))
    assert not any("last epoch" in sentence for sentence in caveats(classes))


def test_a_measure_that_is_undefined_says_why() -> None:
    names = [f"P{number:03}" for number in range(30)]
    result = class_run(patients=30, folds=one_fold(names, names[20::2]))
    assert headline(result) == "The AUC on patients the models had not seen is undefined."
    assert "The AUC is undefined in fold 0: not all classes among its tested patients." in caveats(
        result
    )


def test_predictions_have_one_row_a_slide_and_the_mean_of_its_tests() -> None:
    result = class_run(protocol="repeated", patients=40, resamples=20)
    rows = predicted_classes(result)
    assert len(rows) == result.cohort.slides
    assert {row.tested for row in rows} == {2}
    told = [
        probabilities[1]
        for fold in result.folds
        for bag, probabilities in zip(fold.test.bags, fold.test.probabilities, strict=True)
        if bag == rows[3].bag
    ]
    assert rows[3].probabilities[1] == pytest.approx(np.mean(told))


def test_the_surest_error_comes_first(classes: RunResult) -> None:
    rows = predicted_classes(classes)
    worst = worst_classes(rows)
    wrong = [row for row in rows if row.truth != row.predicted]
    assert worst
    assert all(row.truth != row.predicted for row in worst)
    assert max(worst[0].probabilities) == max(max(row.probabilities) for row in wrong)


def test_surprises_of_survival_are_early_events_and_long_followed_patients(
    survival: RunResult,
) -> None:
    rows = predicted_risks(survival)
    worst = worst_risks(rows)
    missed = [row for row in worst if row.event]
    assert {row.group for row in missed} == {"low"}
    assert missed[0].time == min(row.time for row in rows if row.event and row.group == "low")
    assert {row.group for row in worst if not row.event} == {"high"}


def test_sheets_show_the_surest_slides_of_each_class_and_the_surest_errors(
    classes: RunResult,
) -> None:
    shown = slides_to_show(classes, patients_of(classes))
    groups = list(dict.fromkeys(slide.group for slide in shown))
    assert groups == ["LUAD, recognised", "LUSC, recognised", "Surest errors"]
    assert len({slide.patient_id for slide in shown}) == len(shown) == 6
    surest = max(
        (row for row in predicted_classes(classes) if row.truth == row.predicted == "LUSC"),
        key=lambda row: row.probabilities[1],
    )
    assert shown[2].slide_id == surest.bag
    assert [tile.attention for tile in shown[0].most] == sorted(
        (tile.attention for tile in shown[0].most), reverse=True
    )
    assert len(shown[0].most) == len(shown[0].least) == TILES


def test_sheets_of_survival_show_both_ends_of_risk(survival: RunResult) -> None:
    shown = slides_to_show(survival, patients_of(survival))
    assert [slide.group for slide in shown] == ["High risk"] * 2 + ["Low risk"] * 2
    assert all("above" in slide.note for slide in shown[:2])
    assert all("below" in slide.note for slide in shown[2:])


def test_a_sheet_is_one_row_and_a_slide_without_readable_tiles_has_none(classes: RunResult) -> None:
    (slide, *_) = slides_to_show(classes, patients_of(classes))
    tile = np.full((50, 50, 3), (200, 40, 90), np.uint8)
    picture = cv2.imdecode(np.frombuffer(jpeg([tile] * TILES), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (120, TILES * 116 + 4, 3)
    assert np.abs(picture[60, 60, ::-1].astype(int) - (200, 40, 90)).max() < 8
    page = make_report(classes, [Sheet(slide, [tile], [])]).html.decode()
    assert page.count("data:image/jpeg") == 1
    assert "most attended" in page
    assert "least attended" not in page


def test_a_run_with_sheets_stays_a_file_one_can_mail(report: Report) -> None:
    assert len(report.html) < 3_000_000
    names = set(report.files())
    assert {"report.html", "report.json", "figures/forest.svg", "figures/forest.png"} <= names
