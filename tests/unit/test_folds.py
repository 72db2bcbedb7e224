"""Folds: nobody on two sides, every part like the whole, the same from the same seed."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathray.barcode import tissue_source_sites
from pathray.clinical.cohort import ClinicalCohort
from pathray.clinical.reading import read_clinical
from pathray.clinical.targets import ClassTarget, SurvivalTarget
from pathray.errors import RequestError
from pathray.evaluation.folds import PARTS, Fold, Strata, k_folds, monte_carlo
from pathray.evaluation.labels import Labels
from pathray.evaluation.splitfiles import read_splits
from pathray.survival.followup import FollowUp


def strata(*sizes: int) -> Strata:
    """As many patients of each class."""
    of = np.repeat(np.arange(len(sizes)), sizes)
    patients = tuple(f"P{number:04}" for number in range(len(of)))
    return Strata(patients, of, tuple(f"class {number}" for number in range(len(sizes))))


def parts(fold: Fold) -> list[set[str]]:
    return [set(getattr(fold, part)) for part in PARTS]


def refuse_leaks(folds: Sequence[Fold], everyone: Sequence[str]) -> None:
    """Every patient is in exactly one part of every fold, and listed once."""
    for fold in folds:
        listed = [*fold.train, *fold.validation, *fold.test]
        assert sorted(listed) == sorted(everyone)


def counts(patients: set[str], given: Strata) -> list[int]:
    """How many of these patients are of each class."""
    of = Counter(
        int(value) for patient, value in zip(given.patients, given.of, strict=True)
        if patient in patients
    )  # fmt: skip
    return [of[number] for number in range(len(given.names))]


SIZES = st.lists(st.integers(10, 60), min_size=1, max_size=4)


@settings(max_examples=30)
@given(SIZES, st.integers(2, 10), st.integers(0, 99))
def test_k_folds_test_every_patient_once_and_leak_none(
    sizes: list[int], number: int, seed: int
) -> None:
    given = strata(*sizes)
    folds = k_folds(given, number, seed=seed)
    refuse_leaks(folds, given.patients)
    assert sorted(p for fold in folds for p in fold.test) == sorted(given.patients)
    for fold in folds:
        for share, part in ((0.1, fold.validation), (1 / number, fold.test)):
            for found, size in zip(counts(set(part), given), sizes, strict=True):
                assert found >= 1
                assert abs(found - max(1, share * size)) <= 1


@settings(max_examples=30)
@given(SIZES, st.integers(0, 99))
def test_monte_carlo_folds_hold_eighty_ten_ten_of_every_class(sizes: list[int], seed: int) -> None:
    given = strata(*sizes)
    folds = monte_carlo(given, 4, seed=seed)
    refuse_leaks(folds, given.patients)
    assert [fold.repeat for fold in folds] == [0, 1, 2, 3]
    assert len({fold.test for fold in folds}) > 1
    for fold in folds:
        for part in (fold.validation, fold.test):
            for found, size in zip(counts(set(part), given), sizes, strict=True):
                assert abs(found - size / 10) < 1


def test_test_folds_are_of_equal_size() -> None:
    sizes = [len(fold.test) for fold in k_folds(strata(33, 21, 14), 10)]
    assert max(sizes) - min(sizes) <= 1


def test_the_same_seed_gives_the_same_folds_and_another_others() -> None:
    given = strata(40, 20)
    for make in (k_folds, monte_carlo):
        assert make(given, seed=3) == make(given, seed=3)
        assert make(given, seed=3) != make(given, seed=4)


def test_folds_do_not_depend_on_the_order_of_the_table() -> None:
    slides = tuple(f"s{number}" for number in range(40))
    owners = tuple(f"P{number // 2}" for number in range(40))
    cohort = ClinicalCohort(slides, owners, Labels(np.arange(40) // 2 % 2, ("a", "b")))
    turned = cohort.take(np.arange(40)[::-1])
    assert k_folds(cohort.strata()) == k_folds(turned.strata())


def test_repeats_are_named_and_differ() -> None:
    given = strata(30, 30)
    folds = k_folds(given, 5, repeats=2)
    assert [fold.name for fold in folds][::5] == ["0.0", "1.0"]
    assert [fold.repeat for fold in folds] == [0] * 5 + [1] * 5
    assert folds[0].test != folds[5].test
    assert [fold.test for fold in k_folds(given, 5)] == [fold.test for fold in folds[:5]]


def test_a_class_with_fewer_patients_than_folds_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match=r"'class 1' \(4\): 5 folds cannot do with fewer than 5"):
        k_folds(strata(50, 4), 5)
    k_folds(strata(50, 5), 5)
    with pytest.raises(RequestError, match=r"'class 1' \(9\): a part of 10%"):
        monte_carlo(strata(50, 9))
    monte_carlo(strata(50, 10))


@pytest.mark.parametrize("validation", [0.0, 0.8, 1.0])
def test_shares_that_leave_nobody_are_refused(validation: float) -> None:
    with pytest.raises(RequestError, match="leave no patient"):
        k_folds(strata(50), 5, validation)
    with pytest.raises(RequestError, match="leave no patient"):
        monte_carlo(strata(50), 5, validation, 0.2)


def test_survival_folds_are_balanced_for_events_and_may_lack_the_censored() -> None:
    names = tuple(f"P{number:02}" for number in range(60))
    follow_up = FollowUp.of(np.arange(1, 61), np.arange(60) % 6 == 0)
    folds = k_folds(ClinicalCohort(names, names, follow_up).strata(), 10)
    events = [sum(int(patient[1:]) % 6 == 0 for patient in fold.test) for fold in folds]
    assert events == [1] * 10
    all_events = FollowUp.of(np.arange(1, 61), np.ones(60))
    assert len(k_folds(ClinicalCohort(names, names, all_events).strata(), 10)) == 10


@settings(max_examples=8)
@given(st.lists(st.integers(1, 12), min_size=30, max_size=60), st.integers(0, 99))
def test_a_site_never_spans_two_parts(sites: list[int], seed: int) -> None:
    of_site = np.repeat(np.arange(len(sites)), sites)
    rng = np.random.default_rng(seed)
    names = tuple(f"P{number:04}" for number in range(len(of_site)))
    given = Strata(names, rng.integers(0, 2, len(names)), ("a", "b"))
    groups = {name: f"site {site}" for name, site in zip(names, of_site, strict=True)}
    for fold in [
        *k_folds(given, 3, groups=groups, seed=seed),
        *monte_carlo(given, 2, groups=groups),
    ]:
        train, validation, test = ({groups[p] for p in part} for part in parts(fold))
        assert train.isdisjoint(validation | test)
        assert validation.isdisjoint(test)
        refuse_leaks([fold], names)


def test_too_few_sites_are_refused() -> None:
    given = strata(20, 20)
    groups = {name: "A" if name < "P0020" else "B" for name in given.patients}
    with pytest.raises(RequestError, match="would have no patient of"):
        k_folds(given, 4, groups=groups)


def test_sites_are_read_from_barcodes() -> None:
    assert tissue_source_sites(["TCGA-3C-AALI", "TCGA-A1-A0SB"]) == {
        "TCGA-3C-AALI": "3C", "TCGA-A1-A0SB": "A1",
    }  # fmt: skip
    with pytest.raises(RequestError, match="1 of 2 patients have none: P7"):
        tissue_source_sites(["TCGA-3C-AALI", "P7"])


def breast(shared: Path) -> ClinicalCohort:
    """Ductal and lobular carcinomas of TCGA."""
    path = shared / "data/survival/BEPH_tcga_brca_subset.csv"
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["oncotree_code"] in ("IDC", "ILC")]
    slides = [row["slide_id"] for row in rows]
    target = ClassTarget("oncotree_code", ("IDC", "ILC"))
    return read_clinical(str(path), target, dict.fromkeys(slides), "case_id").cohort


def test_site_preserved_folds_of_real_breast_cancers_stay_balanced(shared: Path) -> None:
    given = breast(shared).strata()
    sites = tissue_source_sites(given.patients)
    assert len(set(sites.values())) > 20
    share = given.of.mean()
    for fold in k_folds(given, 3, groups=sites):
        idc, ilc = counts(set(fold.test), given)
        assert abs((idc + ilc) / len(given.patients) - 1 / 3) < 0.05
        assert abs(ilc / (idc + ilc) - share) < 0.05


# Split files.


def cohort(patients: int = 12) -> ClinicalCohort:
    """Two slides a patient, classes in turn."""
    slides = tuple(f"s{number:02}" for number in range(2 * patients))
    owners = tuple(f"P{number // 2:02}" for number in range(2 * patients))
    return ClinicalCohort(slides, owners, Labels(np.arange(2 * patients) // 2 % 2, ("a", "b")))


def write(folder: Path, name: str, *columns: Sequence[str]) -> str:
    """A CSV of columns, each with its header first, of any length."""
    length = max(map(len, columns))
    lines = [
        ",".join(column[row] if row < len(column) else "" for column in columns)
        for row in range(length)
    ]
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


def test_a_folder_of_clam_splits_is_read_by_slide(tmp_path: Path) -> None:
    index = ["", "0", "1", "2", "3"]
    for number, test in enumerate((("s20.svs", "s22"), ("s22", "s20"))):
        train = ["train", "s00", "s01", "s02.svs", "s08"]
        write(tmp_path, f"splits_{number}.csv", index, train, ["val", "s04"], ["test", *test])
        (tmp_path / f"splits_{number}_bool.csv").write_text(",train\ns00,True\n")
    given = read_splits(str(tmp_path), cohort())
    assert [(fold.name, fold.repeat) for fold in given.folds] == [("0", 0), ("1", 1)]
    assert given.folds[0].train == ("P00", "P01", "P04")
    assert given.folds[0].validation == ("P02",)
    assert given.folds[0].test == ("P10", "P11")
    assert given.notes[0].startswith("6 patient(s) of the cohort are in no fold: P03, P05")


def test_a_table_of_folds_tests_each_once(tmp_path: Path) -> None:
    patients = [f"P{number:02}" for number in range(12)]
    folds = [str(number // 4) for number in range(12)]
    path = write(tmp_path, "folds.csv", ["patient_id", *patients], ["fold", *folds])
    given = read_splits(path, cohort(), validation=0.25)
    assert [fold.test for fold in given.folds] == [
        tuple(patients[:4]), tuple(patients[4:8]), tuple(patients[8:]),
    ]  # fmt: skip
    assert {fold.repeat for fold in given.folds} == {0}
    refuse_leaks(given.folds, patients)
    assert all(len(fold.validation) == 2 for fold in given.folds)
    assert given == read_splits(path, cohort(), validation=0.25)


def test_a_patient_on_two_sides_of_a_given_split_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "splits_0.csv", ["train", "s00"], ["val", "s04"], ["test", "s01"])
    with pytest.raises(RequestError, match="patient P00 is in train and in test of fold 0"):
        read_splits(path, cohort())
    path = write(tmp_path, "t.csv", ["patient_id", "P00", "P01", "P00"], ["fold", "0", "1", "1"])
    with pytest.raises(RequestError, match="patient P00 is in 0 and in 1"):
        read_splits(path, cohort())


def test_ids_that_are_not_in_the_cohort_are_noted(tmp_path: Path) -> None:
    path = write(
        tmp_path, "splits_0.csv", ["train", "s00", "x1"], ["val", "s04"], ["test", "s08", "x2"]
    )
    notes = read_splits(path, cohort()).notes
    assert notes[0] == "2 id(s) of the splits are not in the cohort: x1, x2"


def test_a_part_without_patients_of_the_cohort_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "splits_3.csv", ["train", "s00"], ["val", "s04"], ["test", "x"])
    with pytest.raises(RequestError, match="fold 3 has no patient of this cohort in test"):
        read_splits(path, cohort())


def test_a_given_part_that_lacks_a_class_is_noted(tmp_path: Path) -> None:
    path = write(
        tmp_path, "splits_0.csv", ["train", "s00", "s02"], ["val", "s04", "s06"], ["test", "s08"]
    )
    assert read_splits(path, cohort(5)).notes == ("fold 0 has no patient of b in test",)


def test_a_file_that_is_no_split_says_what_it_has(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", ["slide", "s00"], ["label", "1"])
    with pytest.raises(RequestError, match=r"--splits: .*it has: slide, label"):
        read_splits(path, cohort())
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"holds no splits_0\.csv"):
        read_splits(str(tmp_path / "empty"), cohort())
    with pytest.raises(RequestError, match="--splits: "):
        read_splits(str(tmp_path / "none.csv"), cohort())


def test_survpaths_bladder_splits_are_five_folds_with_a_sealed_test(shared: Path) -> None:
    path = shared / "data/survival/SurvPath_tcga_blca.csv"
    slides = [line.split(",")[2].strip() for line in path.read_text().splitlines()[1:]]
    target = SurvivalTarget("survival_months_dss", censored="censorship_dss")
    data = read_clinical(str(path), target, dict.fromkeys(slides), "case_id")
    given = read_splits(str(path.parent / "splits_tcga_blca"), data.cohort)
    assert [fold.name for fold in given.folds] == ["0", "1", "2", "3", "4"]
    assert [len(fold.test) for fold in given.folds] == [70, 72, 75, 71, 71]
    assert {fold.repeat for fold in given.folds} == {0}
    refuse_leaks(given.folds, sorted(set(data.cohort.patient_ids)))
    assert given.notes == ()
