"""The cohort: every way to name slides, and every way to name them wrongly."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pathray import storage
from pathray.cohort import Slide, read_cohort
from pathray.errors import RequestError


def refusal(slides: str) -> str:
    """The one line that `--slides` is refused with."""
    with pytest.raises(RequestError) as caught:
        read_cohort(slides)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("--slides: ")
    assert text.count("--slides: ") == 1
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files that are called slides; what a cohort is does not open them."""
    for name in ("b.svs", "a.ndpi", "deep/c.TIFF", "notes.txt", "tiles/preview.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def table(folder: Path, text: str, encoding: str = "utf-8") -> str:
    """A cohort table with this text."""
    path = folder / "cohort.csv"
    path.write_bytes(text.encode(encoding))
    return str(path)


def ids(slides: list[Slide]) -> list[str]:
    return [slide.slide_id for slide in slides]


def test_a_directory_is_all_slides_below_it(folder: Path) -> None:
    slides = read_cohort(str(folder))
    assert slides == [
        Slide("a", str(folder / "a.ndpi")),
        Slide("b", str(folder / "b.svs")),
        Slide("c", str(folder / "deep/c.TIFF")),
    ]
    assert read_cohort(f"{folder}/") == slides


def test_a_relative_directory_gives_absolute_slides(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert read_cohort(folder.name) == read_cohort(str(folder))


def test_a_prefix_of_a_store_is_all_slides_below_it() -> None:
    for name in ("b.svs", "deep/a.svs", "x.txt"):
        storage.put_bytes(f"memory://cohort/slides/{name}", b"x")
    assert read_cohort("memory://cohort/slides/") == [
        Slide("a", "memory://cohort/slides/deep/a.svs"),
        Slide("b", "memory://cohort/slides/b.svs"),
    ]


def test_a_folder_of_a_web_server_is_all_slides_below_it(server: str, web: Path) -> None:
    (web / "slides").mkdir()
    for name in ("b.svs", "a.svs", "x.txt"):
        (web / "slides" / name).write_bytes(b"x")
    slides = [Slide(name, f"{server}/slides/{name}.svs") for name in "ab"]
    assert read_cohort(f"{server}/slides/") == slides
    assert read_cohort(f"{server}/slides/a.svs") == slides[:1]


def test_a_glob_is_what_matches(folder: Path) -> None:
    assert ids(read_cohort(f"{folder}/*.svs")) == ["b"]
    assert ids(read_cohort(f"{folder}/**")) == ["a", "b", "c"]


def test_a_folder_or_slide_with_brackets_in_its_name_is_no_glob(tmp_path: Path) -> None:
    path = tmp_path / "batch [1]" / "a?.svs"
    path.parent.mkdir()
    path.write_bytes(b"x")
    assert ids(read_cohort(str(path.parent))) == ["a?"]
    assert ids(read_cohort(str(path))) == ["a?"]


def test_one_slide_is_a_cohort_whatever_its_suffix(folder: Path) -> None:
    assert read_cohort(str(folder / "b.svs")) == [Slide("b", str(folder / "b.svs"))]
    (folder / "d.unknown").write_bytes(b"x")
    assert ids(read_cohort(str(folder / "d.unknown"))) == ["d"]


def test_hidden_files_are_no_slides(folder: Path) -> None:
    (folder / "._b.svs").write_bytes(b"what macOS leaves beside b.svs")
    assert ids(read_cohort(str(folder))) == ["a", "b", "c"]


def test_the_files_in_an_mrxs_folder_are_no_slides_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for name in ("m.mrxs", "m/Slidedat.ini", "m/Data0000.dat", "m/Index.dat"):
        (tmp_path / name).write_bytes(b"x")
    assert ids(read_cohort(str(tmp_path))) == ["m"]


def test_the_files_of_a_dicom_series_are_one_slide(shared: Path) -> None:
    found = read_cohort(str(shared / "data/slides/dicom-ICE1-WDNET-duodenum-HE-crop"))
    assert len(found) == 1
    assert found[0].uri.endswith(".dcm")


def test_a_table_names_slides_patients_and_ids(folder: Path) -> None:
    uri = table(folder, "slide,slide_id,patient_id\nb.svs,S2,P1\na.ndpi,S1,\n")
    assert read_cohort(uri) == [
        Slide("S1", str(folder / "a.ndpi"), None),
        Slide("S2", str(folder / "b.svs"), "P1"),
    ]


def test_a_table_without_ids_takes_the_stem(folder: Path) -> None:
    assert ids(read_cohort(table(folder, "slide\nb.svs\ndeep/c.TIFF\n"))) == ["b", "c"]


def test_a_table_names_slides_relative_to_itself_absolute_or_by_uri(folder: Path) -> None:
    uri = table(folder, "slide\ndeep/c.TIFF\n/data/x.svs\ns3://bucket/y.svs\n")
    assert [slide.uri for slide in read_cohort(uri)] == [
        str(folder / "deep/c.TIFF"), "/data/x.svs", "s3://bucket/y.svs",
    ]  # fmt: skip


def test_a_table_in_a_store_names_slides_relative_to_itself() -> None:
    storage.put_bytes("memory://tabled/cohort.csv", b"slide\nslides/a.svs\n")
    assert read_cohort("memory://tabled/cohort.csv") == [Slide("a", "memory://tabled/slides/a.svs")]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_table_may_begin_with_a_byte_order_mark_and_hold_blank_lines(
    folder: Path, newline: str
) -> None:
    text = newline.join(["slide,patient_id", " b.svs , P1 ", "", '"a.ndpi","P, 2"', ""])
    slides = read_cohort(table(folder, text, "utf-8-sig"))
    assert [(s.slide_id, s.patient_id) for s in slides] == [("a", "P, 2"), ("b", "P1")]


def test_spaces_around_an_id_are_not_part_of_it(folder: Path) -> None:
    uri = table(folder, "slide,slide_id\nb.svs, S2 \na.ndpi,  \n")
    assert ids(read_cohort(uri)) == ["S2", "a"]


def test_a_parquet_table_is_read_like_a_csv(folder: Path) -> None:
    columns = {"slide": ["b.svs", "a.ndpi"], "patient_id": [7, None], "label": ["x", None]}
    pq.write_table(pa.table(columns), folder / "cohort.parquet")
    slides = read_cohort(str(folder / "cohort.parquet"))
    assert [(s.slide_id, s.patient_id) for s in slides] == [("a", None), ("b", "7")]


def test_a_missing_path_is_said_to_be_missing(tmp_path: Path) -> None:
    for name in ("nothing", "nothing.svs", "nothing.csv"):
        assert refusal(str(tmp_path / name)).endswith(f"{tmp_path}/{name} does not exist")


def test_an_empty_prefix_is_said_to_be_empty(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)) == f"--slides: {tmp_path} is empty"


def test_a_glob_without_a_match_is_said_to_have_none(folder: Path) -> None:
    assert refusal(f"{folder}/*.czi") == f"--slides: nothing matches {folder}/*.czi"


def test_a_folder_without_slides_lists_the_known_suffixes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    text = refusal(str(tmp_path))
    assert "no slide among the 1 files" in text
    assert ".svs" in text


def test_a_table_without_the_column_says_which_it_has(folder: Path) -> None:
    text = refusal(table(folder, "path,label\na.svs,1\n"))
    assert "has no column `slide` (it has: path, label); add one" in text


@pytest.mark.parametrize("text", ["", "slide\n", "\n\n"])
def test_an_empty_table_is_said_to_have_no_rows(folder: Path, text: str) -> None:
    assert refusal(table(folder, text)).endswith("cohort.csv has no rows")


def test_a_row_without_a_slide_is_named(folder: Path) -> None:
    assert "row 2 of the cohort table has no slide" in refusal(
        table(folder, "slide,patient_id\nb.svs,P1\n ,P2\n")
    )


def test_a_row_too_short_or_too_long_is_read_as_far_as_it_goes(folder: Path) -> None:
    slides = read_cohort(table(folder, "slide,patient_id\nb.svs\na.ndpi,P1,more\n"))
    assert [(s.slide_id, s.patient_id) for s in slides] == [("a", "P1"), ("b", None)]


def test_a_table_that_is_not_utf8_names_the_cure(folder: Path) -> None:
    assert "not UTF-8 text: save the table as CSV UTF-8" in refusal(
        table(folder, "slide\nä.svs\n", "latin-1")
    )


def test_a_table_that_is_no_parquet_is_refused_in_one_line(folder: Path) -> None:
    (folder / "cohort.parquet").write_bytes(b"no parquet at all")
    assert "cohort.parquet" in refusal(str(folder / "cohort.parquet"))


def test_slides_of_the_same_name_are_refused_and_named(tmp_path: Path) -> None:
    for name in ("one/a.svs", "two/a.svs", "two/b.svs"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    text = refusal(str(tmp_path))
    assert "1 slide_id(s)" in text
    assert "several slides: a; give each its own" in text


@pytest.mark.parametrize(
    "slide_id", ["_a", ".a", "a/b", "a\\b", "\x01a", "a\x00b", "a::b", "x" * 201, "ä" * 101]
)
def test_an_id_that_cannot_name_a_file_is_refused(folder: Path, slide_id: str) -> None:
    pq.write_table(pa.table({"slide": ["b.svs"], "slide_id": [slide_id]}), folder / "c.parquet")
    text = refusal(str(folder / "c.parquet"))
    assert "cannot name a file" in text
    assert "column `slide_id`" in text


@pytest.mark.parametrize(
    "slide_id",
    ["TCGA-CR-7395-01A-01-TS1.9d2", "a b", "päivä", "a-00001", "100%", "a*[1]?", "x" * 200, "-a"],
)
def test_an_unusual_id_names_its_objects(folder: Path, slide_id: str) -> None:
    pq.write_table(pa.table({"slide": ["b.svs"], "slide_id": [slide_id]}), folder / "c.parquet")
    (found,) = read_cohort(str(folder / "c.parquet"))
    assert found.slide_id == slide_id
    for base in (str(folder / "out"), "memory://unusual"):
        uri = storage.join(base, f"{slide_id}-00000.parquet")
        storage.put_bytes(uri, b"x")
        assert storage.read_bytes(uri) == b"x"
        assert [entry.uri for entry in storage.list_objects(base)] == [uri]
        storage.delete([uri])


def test_an_unknown_store_is_refused_in_one_line() -> None:
    assert "nostore" in refusal("nostore://bucket/slides")
