"""Which bags `pathray predict` asks a model about, and whose they are."""

from pathlib import Path
from typing import Any

import pytest
from drawn_bags import DIM, IDENTITY, Drawn, draw_cohort

from jobs.predict import Flags
from jobs.predictrequest import works_of
from pathray.errors import RequestError
from pathray.evaluation.sealed import Level
from pathray.mil.aggregator import AggregatorSettings
from pathray.mil.aggregators import build_aggregator
from pathray.mil.formats.bag import Made
from pathray.mil.head import Head
from pathray.slidemodel import SlideModel


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw_cohort(tmp_path_factory.mktemp("drawn"), patients=4)


def model_of(level: Level) -> SlideModel:
    settings = AggregatorSettings(aggregator="mean", dim=DIM, outputs=2)
    made = Made(dim=DIM, encoder="drawn", **IDENTITY)  # type: ignore[arg-type]
    head = Head(
        settings=settings,
        made=made,
        target="subtype",
        loss="ce",
        classes=("glandular", "solid"),
        level=level,
    )
    return SlideModel(((head, build_aggregator(settings, 0)),), "m" * 64)


def bags(drawn: Drawn, level: Level, **flags: Any) -> dict[str, list[str]]:
    """Slides by bag."""
    told = {"model": "m", "embeddings": str(drawn.embeddings), "out": "o"} | flags
    works = works_of(Flags.model_validate(told), model_of(level), str(drawn.embeddings))
    return {work.bag: [file.slide_id for file in work.files] for work in works}


def table(folder: Path, text: str) -> str:
    (folder / "asked.csv").write_text(text)
    return str(folder / "asked.csv")


def test_a_table_says_which_slides_are_whose(
    drawn: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = table(tmp_path, "slide_id,case\nP000-0,a\nP000-1,a\nP001-0,b\nabsent,c\n")
    found = bags(drawn, "patient", cohort=asked, patient_id="case")
    assert found == {"a": ["P000-0", "P000-1"], "b": ["P001-0"]}
    told = capsys.readouterr().err
    assert "3 embedded slide(s) left out, not in the cohort table" in told
    assert "1 slide(s) of the cohort table left out, without embeddings: absent" in told


def test_a_model_of_slides_needs_no_patients_in_the_table(drawn: Drawn, tmp_path: Path) -> None:
    asked = table(tmp_path, "slide_id\nP002-0\n")
    assert bags(drawn, "slide", cohort=asked) == {"P002-0": ["P002-0"]}


def test_a_model_of_patients_asks_whose_the_slides_are(drawn: Drawn, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"patient of P000-0 is not known: give --cohort"):
        bags(drawn, "patient")
    asked = table(tmp_path, "slide_id\nP002-0\n")
    with pytest.raises(RequestError, match="no column `patient_id`"):
        bags(drawn, "patient", cohort=asked)
    assert len(bags(drawn, "patient", patient_id="slide")) == 6


def test_a_table_of_other_slides_is_refused(drawn: Drawn, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="0 of the table's 1 rows match"):
        bags(drawn, "slide", cohort=table(tmp_path, "slide_id\nabsent\n"))


def test_a_column_of_patients_needs_a_table() -> None:
    with pytest.raises(ValueError, match="or give --cohort"):
        Flags.model_validate({"model": "m", "embeddings": "e", "out": "o", "patient_id": "case"})
    with pytest.raises(ValueError, match="--cohort has no meaning with --tiles"):
        Flags.model_validate({"model": "m", "tiles": "t", "out": "o", "cohort": "c.csv"})
