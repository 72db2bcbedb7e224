"""The clinical table: what is joined, what is left out and said, what is refused."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pathray.clinical.joining import LeftOut
from pathray.clinical.reading import ClinicalData, clinical_data, read_clinical
from pathray.clinical.targets import ClassTarget, SurvivalTarget, Target
from pathray.errors import RequestError
from pathray.evaluation.labels import Labels
from pathray.survival.followup import FollowUp

SUBTYPE = ClassTarget("subtype")
FOLLOW_UP = SurvivalTarget()


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a CSV text; spaces separate lines."""
    return list(csv.DictReader(text.split()))


def read(
    text: str, target: Target = SUBTYPE, embedded: str = "a b c d", patient_id: str = "patient_id"
) -> ClinicalData:
    return clinical_data(rows(text), target, dict.fromkeys(embedded.split()), patient_id)


def refusal(
    text: str, target: Target = SUBTYPE, embedded: str = "a b c d", patient_id: str = "patient_id"
) -> str:
    """The one line that a table is refused with."""
    with pytest.raises(RequestError) as caught:
        read(text, target, embedded, patient_id)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def labels(data: ClinicalData) -> dict[str, str]:
    """The class of each slide."""
    target = data.cohort.target
    assert isinstance(target, Labels)
    names = [target.classes[value] for value in target.values]
    return dict(zip(data.cohort.slide_ids, names, strict=True))


def follow_up(data: ClinicalData) -> dict[str, tuple[float, bool]]:
    """Time and event of each slide."""
    target = data.cohort.target
    assert isinstance(target, FollowUp)
    pairs = zip(target.time.tolist(), target.event.tolist(), strict=True)
    return dict(zip(data.cohort.slide_ids, pairs, strict=True))


# How rows and embeddings meet.


def test_rows_and_embeddings_meet_by_slide_id() -> None:
    data = read("slide_id,patient_id,subtype b,P2,ILC a,P1,IDC c,P1,IDC", embedded="c a b")
    assert labels(data) == {"a": "IDC", "b": "ILC", "c": "IDC"}
    assert data.cohort.patient_ids == ("P1", "P2", "P1")
    assert data.joined_on == "slide_id"
    assert (data.left_out, data.warnings) == ((), ())


def test_a_slide_may_be_given_with_its_suffix_or_as_a_path() -> None:
    table = "slide_id,patient_id,subtype a.svs,P1,x b,P2,y"
    assert labels(read(table, embedded="a b")) == {"a": "x", "b": "y"}
    assert labels(read(table, embedded="a.svs b")) == {"a.svs": "x", "b": "y"}
    table = "slide,patient_id,subtype s3://bucket/deep/a.svs,P1,x b.ndpi,P2,y"
    assert labels(read(table, embedded="a b")) == {"a": "x", "b": "y"}


def test_without_a_slide_in_common_they_meet_by_patient() -> None:
    table = "patient_id,subtype P1,x P2,y P3,x"
    data = clinical_data(rows(table), SUBTYPE, {"a": "P1", "b": "P1", "c": "P2", "d": None})
    assert labels(data) == {"a": "x", "b": "x", "c": "y"}
    assert data.joined_on == "patient_id"
    assert [str(each) for each in data.left_out] == [
        "1 embedded slide(s) left out, not in the cohort table: d",
        "1 patient(s) of the cohort table left out, without embeddings: P3",
    ]


def test_tcga_patients_are_the_first_twelve_characters() -> None:
    embedded = "TCGA-AA-0001-01Z-00-DX1.1f TCGA-AA-0001-01Z-00-DX2.2f TCGA-BB-0002-01Z-00-DX1 other"
    by_slide = "slide_id,subtype TCGA-AA-0001-01Z-00-DX1.1f.svs,x TCGA-BB-0002-01Z-00-DX1,y"
    data = read(by_slide, embedded=embedded, patient_id="tcga")
    assert data.cohort.patient_ids == ("TCGA-AA-0001", "TCGA-BB-0002")
    by_patient = "patient_id,subtype TCGA-AA-0001,x TCGA-BB-0002,y"
    data = read(by_patient, embedded=embedded, patient_id="tcga")
    assert data.cohort.patient_ids == ("TCGA-AA-0001", "TCGA-AA-0001", "TCGA-BB-0002")
    assert "'a' does not begin with a TCGA barcode" in refusal(
        "slide_id,subtype a,x b,y", patient_id="tcga"
    )


def test_each_slide_may_be_its_own_patient() -> None:
    data = read("slide_id,subtype a,x b,y", patient_id="slide")
    assert data.cohort.patient_ids == ("a", "b")
    assert "needs a column `slide_id`" in refusal("subtype x y", patient_id="slide")


def test_patients_may_be_in_any_column() -> None:
    data = read("slide_id,case_id,subtype a,P1,x b,P2,y", patient_id="case_id")
    assert data.cohort.patient_ids == ("P1", "P2")


def test_without_patients_it_says_how_to_name_them() -> None:
    text = refusal("slide_id,case,subtype a,P1,x b,P2,y")
    assert "no column `patient_id` (it has: slide_id, case, subtype)" in text
    assert "--patient-id tcga or slide" in text
    assert "b has no patient in `patient_id`" in refusal("slide_id,patient_id,subtype a,P,x b,,y")


def test_a_cohort_without_a_match_says_how_many_and_which() -> None:
    text = refusal("slide_id,patient_id,subtype x1,P1,x x2,P2,y", embedded="a b c")
    assert "0 of the table's 2 rows match the 3 embedded slides" in text
    assert "x1, x2" in text
    assert "a, b, c" in text


def test_a_cohort_that_matches_in_part_says_what_does_not() -> None:
    data = read("slide_id,patient_id,subtype a,P1,x b,P2,y z,P3,y", embedded="a b c d e f g h i")
    assert data.left_out == (
        LeftOut("embedded slide(s)", tuple("cdefghi"), "not in the cohort table"),
        LeftOut("slide(s) of the cohort table", ("z",), "without embeddings"),
    )
    assert str(data.left_out[0]).endswith("c, d, e, f, g and 2 more")


def test_a_slide_with_two_rows_is_refused() -> None:
    text = refusal("slide_id,patient_id,subtype a,P1,x a.svs,P1,x b,P2,y")
    assert text == "1 slide(s) have several rows: a"


# Labels.


def test_classes_are_sorted_numbers_by_size() -> None:
    for text, classes in (("b a", ("a", "b")), ("10 9", ("9", "10")), ("1.0 0", ("0", "1"))):
        first, second = text.split()
        data = read(f"slide_id,patient_id,subtype a,P1,{first} b,P2,{second}")
        assert isinstance(data.cohort.target, Labels)
        assert data.cohort.target.classes == classes


def test_the_order_of_classes_may_be_given() -> None:
    data = read("slide_id,patient_id,subtype a,P1,x b,P2,y", ClassTarget("subtype", ("y", "x")))
    assert isinstance(data.cohort.target, Labels)
    assert data.cohort.target.values.tolist() == [1, 0]


def test_an_unknown_label_is_refused_by_name() -> None:
    target = ClassTarget("subtype", ("x", "y"))
    text = refusal("slide_id,patient_id,subtype a,P1,x b,P2,z", target)
    assert text.startswith("b: unknown label 'z' in column `subtype`; known: x, y")
    assert "no slide with an embedding is of class y" in refusal(
        "slide_id,patient_id,subtype a,P1,x b,P2,x", target
    )


def test_a_constant_label_is_refused() -> None:
    text = refusal("slide_id,patient_id,subtype a,P1,x b,P2,x")
    assert text == "column `subtype` is 'x' for every slide: a model needs two classes"


@pytest.mark.parametrize("empty", ["", "NA", "nan", "--"])
def test_slides_without_a_label_are_left_out_and_listed(empty: str) -> None:
    data = read(f"slide_id,patient_id,subtype a,P1,x b,P2,y c,P2,{empty} d,P3,{empty}")
    assert labels(data) == {"a": "x", "b": "y"}
    assert [str(each) for each in data.left_out] == ["2 slide(s) left out, no subtype: c, d"]


def test_when_no_row_is_left_it_says_why() -> None:
    assert refusal("slide_id,patient_id,subtype a,P1, b,P2,") == (
        "no row is left to train on: 2 slide(s) left out, no subtype: a, b"
    )


def test_a_patient_in_two_classes_is_refused_by_name() -> None:
    text = refusal("slide_id,patient_id,subtype a,P1,x b,P1,y c,P2,y")
    assert text == "1 patient(s) in two classes of `subtype`: P1"


def test_a_missing_column_lists_those_there_are() -> None:
    text = refusal("slide_id,patient_id,grade a,P1,x")
    assert "no column `subtype` (it has: slide_id, patient_id, grade)" in text
    assert "--target" in text
    text = refusal("slide_id,patient_id,event a,P1,1", FOLLOW_UP)
    assert "no column `time`" in text
    assert "--time-column" in text


# Follow-up.


def test_follow_up_is_a_time_and_whether_the_event_was_seen() -> None:
    data = read(
        "slide_id,patient_id,time,event a,P1,5,1 b,P2,7.5,0 c,P3,1,0.0 d,P4,2,False", FOLLOW_UP
    )
    assert follow_up(data) == {"a": (5, True), "b": (7.5, False), "c": (1, False), "d": (2, False)}
    assert data.warnings == ()


def test_a_column_of_censoring_is_turned_round() -> None:
    target = SurvivalTarget("months", censored="censorship")
    data = read("slide_id,patient_id,months,censorship a,P1,5,1 b,P2,7,0", target)
    assert follow_up(data) == {"a": (5, False), "b": (7, True)}
    assert data.warnings == ()


def test_times_that_are_missing_or_not_positive_are_left_out_and_listed() -> None:
    data = clinical_data(
        rows(
            "slide_id,patient_id,time,event a,P1,5,1 b,P2,7,0 c,P3,,1 d,P4,0,1 e,P5,-3,0 f,P6,9,NA"
        ),
        FOLLOW_UP,
        dict.fromkeys("abcdef"),
    )
    assert data.cohort.slide_ids == ("a", "b")
    assert [str(each) for each in data.left_out] == [
        "1 slide(s) left out, no time: c",
        "1 slide(s) left out, time is zero: d",
        "1 slide(s) left out, time is negative: e",
        "1 slide(s) left out, no event: f",
    ]


@pytest.mark.parametrize("time", ["soon", "inf", "5,0"])
def test_a_time_that_is_no_number_is_refused(time: str) -> None:
    text = refusal(f'slide_id,patient_id,event,time a,P1,1,"{time}"', FOLLOW_UP)
    assert text == f"a: column `time` holds {time!r}, which is not a number"


@pytest.mark.parametrize("event", ["2", "-1", "dead", "0.5"])
def test_an_event_that_is_neither_0_nor_1_is_refused(event: str) -> None:
    text = refusal(f"slide_id,patient_id,time,event a,P1,5,{event}", FOLLOW_UP)
    assert (
        text == f"a: column `event` holds {event!r}, which is not 0 or 1 (1 = event, 0 = censored)"
    )


def test_nearly_all_events_are_doubted() -> None:
    table = "slide_id,patient_id,time,event " + " ".join(
        f"s{i},P{i},{i + 1},{int(i > 0)}" for i in range(8)
    )
    embedded = " ".join(f"s{i}" for i in range(8))
    (warning,) = read(table, FOLLOW_UP, embedded).warnings
    assert warning == (
        "7 of 8 slides have an event: if `event` is 1 for censored, say --censored-column event"
    )


def test_a_column_called_censored_is_doubted() -> None:
    target = SurvivalTarget(event="censorship")
    data = read("slide_id,patient_id,time,censorship a,P1,5,1 b,P2,7,0 c,P3,7,0", target)
    (warning,) = data.warnings
    assert "`censorship` is read as 1 = event" in warning


def test_a_cohort_without_an_event_is_refused() -> None:
    text = refusal("slide_id,patient_id,time,event a,P1,5,0 b,P2,5,0", FOLLOW_UP)
    assert "nobody has an event" in text


def test_a_patient_with_two_follow_ups_is_refused_by_name() -> None:
    for second in ("6,1", "5,0"):
        text = refusal(f"slide_id,patient_id,time,event a,P1,5,1 b,P1,{second}", FOLLOW_UP)
        assert text == "1 patient(s) with two follow-ups (`time` or event): P1"


# Files.


def test_a_parquet_table_is_read_like_a_csv(tmp_path: Path) -> None:
    columns = {
        "slide_id": ["a", "b"],
        "patient_id": [1, 2],
        "time": [1.5, 2],
        "event": [True, False],
    }
    pq.write_table(pa.table(columns), tmp_path / "cohort.parquet")
    data = read_clinical(str(tmp_path / "cohort.parquet"), FOLLOW_UP, {"a": None, "b": None})
    assert follow_up(data) == {"a": (1.5, True), "b": (2, False)}


def test_a_table_that_is_not_there_or_empty_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^--cohort: .*does not exist$"):
        read_clinical(str(tmp_path / "none.csv"), SUBTYPE, {})
    (tmp_path / "empty.csv").write_text("slide_id,patient_id\n")
    with pytest.raises(RequestError, match=r"^--cohort: the table has no rows$"):
        read_clinical(str(tmp_path / "empty.csv"), SUBTYPE, {})


def real(shared: Path, name: str) -> tuple[str, dict[str, str | None]]:
    """A real table and embeddings of all its slides."""
    path = shared / "data/survival" / name
    with path.open() as file:
        slides = [row["slide_id"].removesuffix(".svs") for row in csv.DictReader(file)]
    return str(path), dict.fromkeys(slides)


def test_beph_kidney_follow_up_is_read_and_its_four_zero_times_listed(shared: Path) -> None:
    path, embedded = real(shared, "BEPH_TCGA_KIRC.csv")
    data = read_clinical(path, SurvivalTarget("days", "OSFL"), embedded, "tcga")
    assert len(data.cohort) == 508
    (left,) = data.left_out
    assert (len(left.ids), left.reason) == (4, "days is zero")
    assert data.warnings == ()


def test_a_table_with_made_up_slide_names_still_joins_by_patient(shared: Path) -> None:
    path, named = real(shared, "BEPH_TCGA_KIRC.csv")
    embedded = {f"{slide[:23]}.real-uuid": None for slide in named}
    data = read_clinical(path, SurvivalTarget("days", "OSFL"), embedded, "tcga")
    assert (len(data.cohort), data.joined_on) == (508, "patient_id")


def test_survpath_bladder_patients_keep_all_their_slides(shared: Path) -> None:
    path, embedded = real(shared, "SurvPath_tcga_blca.csv")
    target = SurvivalTarget("survival_months", censored="censorship")
    data = read_clinical(path, target, embedded, "case_id")
    assert len(data.cohort) == 423
    assert len(data.cohort.strata().patients) == 359
    assert (
        data.cohort.patient_ids == read_clinical(path, target, embedded, "tcga").cohort.patient_ids
    )


def test_breast_censoring_read_the_wrong_way_round_is_doubted(shared: Path) -> None:
    path, embedded = real(shared, "BEPH_tcga_brca_subset.csv")
    wrong = SurvivalTarget("survival_months", event="censorship")
    warnings = read_clinical(path, wrong, embedded, "case_id").warnings
    assert warnings[0].startswith("806 of 937 slides have an event")
    right = SurvivalTarget("survival_months", censored="censorship")
    assert read_clinical(path, right, embedded, "case_id").warnings == ()


def test_breast_subtypes_are_read_in_full(shared: Path) -> None:
    path, embedded = real(shared, "BEPH_tcga_brca_subset.csv")
    data = read_clinical(path, ClassTarget("oncotree_code"), embedded, "case_id")
    names = list(labels(data).values())
    assert (names.count("IDC"), names.count("ILC"), len(set(names))) == (726, 149, 11)
