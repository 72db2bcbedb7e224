"""What `pathray finetune` refuses before it begins: one line each, exit code 2."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_bags import Drawn, draw_cohort, write_bag

from jobs.cli import main
from jobs.cluster import Capacity
from jobs.finetune import Flags
from jobs.finetunerequest import gpus_per_fold, settle
from pathray.errors import RequestError

Edit = Callable[[list[dict[str, str]]], None]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw_cohort(tmp_path_factory.mktemp("drawn"), patients=20)


@pytest.fixture
def refused(drawn: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `finetune` on an edited copy of the table; returns the one line it is refused with."""

    def run(edit: Edit | None = None, *flags: object, target: str = "subtype") -> str:
        table = edited(drawn.table, tmp_path / "cohort.csv", edit)
        given = ("--embeddings", drawn.embeddings, "--cohort", table, "--target", target)
        code = main(["finetune", *map(str, (*given, "--out", tmp_path / "out", *flags))])
        said = capsys.readouterr().err
        assert code == 2, said
        assert len(said.splitlines()) == 1, said
        assert not (tmp_path / "out").exists()
        return said

    return run


def edited(table: Path, copy: Path, edit: Edit | None) -> Path:
    with table.open() as file:
        rows = list(csv.DictReader(file))
    if edit:
        edit(rows)
    with copy.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return copy


def setting(column: str, value: str, rows: slice = slice(None)) -> Edit:
    def edit(table: list[dict[str, str]]) -> None:
        for row in table[rows]:
            row[column] = value

    return edit


def test_a_cohort_that_matches_nothing_says_how_many_and_which(refused) -> None:
    def edit(table: list[dict[str, str]]) -> None:
        for row in table:
            row["slide_id"] = "S" + row["slide_id"]

    said = refused(edit)
    assert "0 of the table's 27 rows" in said
    assert "SP000-0" in said
    assert "P000-0" in said


def test_what_does_not_match_is_listed_and_left_out(drawn: Drawn, tmp_path: Path) -> None:
    table = edited(drawn.table, tmp_path / "c.csv", setting("slide_id", "elsewhere", slice(1)))
    request = settle(flags_of(drawn, cohort=str(table), out=str(tmp_path / "out")))
    assert request.counts.slides == 26
    assert any("elsewhere" in line for line in request.counts.left_out)
    assert any("P000-0" in line for line in request.counts.left_out)


def flags_of(drawn: Drawn, **more: object) -> Flags:
    told = {"embeddings": str(drawn.embeddings), "cohort": str(drawn.table), "target": "subtype"}
    return Flags.model_validate(told | {"folds": 3} | more)


def test_a_column_that_is_not_there_is_named(refused) -> None:
    assert "no column `grade`" in refused(target="grade")


def test_a_constant_label(refused) -> None:
    assert "a model needs two classes" in refused(setting("subtype", "solid"))


def test_an_unknown_label(refused) -> None:
    edit = setting("subtype", "gland", slice(1, 2))
    assert "unknown label 'gland'" in refused(edit, "--classes", "glandular,solid")


def test_a_class_with_fewer_patients_than_folds(refused) -> None:
    def edit(table: list[dict[str, str]]) -> None:
        for row in table:
            row["subtype"] = "mucinous" if row["patient_id"] < "P003" else row["subtype"]

    said = refused(edit, "--folds", 5)
    assert "too few patients of 'mucinous' (3)" in said


def test_a_patient_in_two_classes(refused) -> None:
    said = refused(setting("subtype", "solid", slice(1)))
    assert "1 patient(s) in two classes" in said
    assert "P000" in said


def test_patients_that_are_not_named(refused) -> None:
    said = refused(None, "--patient-id", "case")
    assert "no column `case`" in said
    assert "tcga" in said


def test_an_event_that_is_neither_0_nor_1(refused) -> None:
    said = refused(setting("event", "2", slice(1)), target="survival")
    assert "not 0 or 1" in said


def test_a_time_that_is_no_number(refused) -> None:
    assert "'long'" in refused(setting("time", "long", slice(1)), target="survival")


def test_nobody_with_an_event(refused) -> None:
    said = refused(setting("event", "0"), target="survival")
    assert "coded the other way round" in said


def test_negative_times_are_left_out_and_nearly_all_events_warn(
    drawn: Drawn, tmp_path: Path
) -> None:
    def edit(table: list[dict[str, str]]) -> None:
        for row in table:
            row["event"] = "1"
        table[0]["time"] = table[1]["time"] = "-3"

    table = edited(drawn.table, tmp_path / "c.csv", edit)
    request = settle(
        flags_of(drawn, cohort=str(table), out=str(tmp_path / "out"), target="survival")
    )
    assert any("time is negative" in line for line in request.counts.left_out)
    assert any("--censored-column event" in line for line in request.counts.warnings)


def test_an_unknown_aggregator_lists_the_known(refused) -> None:
    assert "clam_sb" in refused(None, "--aggregator", "clam")


def test_embeddings_of_two_encoders(
    drawn: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "emb"
    shutil.copytree(drawn.embeddings, folder)
    write_bag(folder, "P001-0", np.ones((5, 16), np.float16), encoder_digest="f" * 64)
    told = ("--embeddings", folder, "--cohort", drawn.table, "--target", "subtype")
    assert main(["finetune", *map(str, (*told, "--out", tmp_path / "out"))]) == 2
    said = capsys.readouterr().err
    assert "P001-0 was embedded in another way" in said
    assert "encoder_digest" in said


def test_slides_without_a_tile_are_left_out_by_name(drawn: Drawn, tmp_path: Path) -> None:
    folder = tmp_path / "emb"
    shutil.copytree(drawn.embeddings, folder)
    write_bag(folder, "P001-0", np.empty((0, 16), np.float16))
    request = settle(flags_of(drawn, embeddings=str(folder), out=str(tmp_path / "out")))
    assert "P001-0" not in request.cohort.slide_ids
    assert any("without a tile" in line and "P001-0" in line for line in request.counts.left_out)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--loss", "nll"), "--loss has no meaning for classes"),
        (("--splits", "s.csv", "--folds", "3"), "--folds has no meaning with --splits"),
        (("--cv", "monte-carlo", "--repeats", "2"), "raise --folds"),
        (("--method", "knn"), "--method has no meaning with --level slide"),
        (("--folds", "1"), "at least 2 folds"),
        (("--splits", "nowhere"), "--splits"),
        (("--tiles", "nowhere"), "--tiles"),
        (("--site-preserved",), "TCGA barcodes"),
    ],
)
def test_flags_that_do_not_go_together(refused, flags: tuple[str, ...], said: str) -> None:
    assert said in refused(None, *flags)


def test_survival_takes_patients_as_bags_and_classes_slides(drawn: Drawn, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert settle(flags_of(drawn, out=out)).recipe.level == "slide"
    survival = settle(flags_of(drawn, out=out, target="survival")).recipe
    assert (survival.level, survival.loss, survival.rate) == ("patient", "cox", 2e-4)


def test_what_a_cluster_can_still_start_may_be_asked_for(drawn: Drawn) -> None:
    asked = flags_of(drawn, out="o", cpus_per_fold=2, gpus_per_fold=1)
    assert gpus_per_fold(asked, Capacity(0, 0, 1, 1, grows=True)) == 1
    with pytest.raises(RequestError, match="the cluster has no GPU"):
        gpus_per_fold(asked, Capacity(8, 0, 1, 8))
    with pytest.raises(RequestError, match="there are 1 CPUs in all"):
        gpus_per_fold(flags_of(drawn, out="o", cpus_per_fold=2), Capacity(1, 0, 1, 1))
