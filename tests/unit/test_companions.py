"""The files a slide is made of."""

import struct
from pathlib import Path

import pytest

from pathray import storage
from pathray.slides.companions import companions, dicom_series, source_of, suffix


def dicom(series: str) -> bytes:
    """The part of a DICOM header that names its series."""
    uid = series.encode() + b"\x00" * (len(series) % 2)
    return bytes(128) + b"DICM" + b"\x20\x00\x0e\x00UI" + struct.pack("<H", len(uid)) + uid


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh folder or prefix."""
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def put(base: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        storage.put_bytes(storage.join(base, name), data)


def names(base: str, slide: str) -> list[str]:
    return [e.uri.removeprefix(base + "/") for e in companions(storage.join(base, slide))]


def test_an_mrxs_slide_comes_with_the_folder_of_its_name(base: str) -> None:
    put(base, {"m.mrxs": b"x", "m/Slidedat.ini": b"x", "m/a/D.dat": b"x", "n/Slidedat.ini": b"x"})
    assert names(base, "m.mrxs") == ["m/Slidedat.ini", "m/a/D.dat"]


def test_a_dicom_file_comes_with_the_others_of_its_series(base: str) -> None:
    one, other = dicom("1.2.3"), dicom("1.2.34")
    put(base, {"a.dcm": one, "b.DCM": one, "c.dcm": other, "d.txt": one, "sub/e.dcm": one})
    assert names(base, "a.dcm") == ["b.DCM"]
    assert names(base, "c.dcm") == []


def test_a_vms_slide_comes_with_the_files_that_begin_with_its_name(base: str) -> None:
    put(base, {"v.vms": b"x", "v.opt": b"x", "v_map.jpg": b"x", "w.jpg": b"x"})
    assert names(base, "v.vms") == ["v.opt", "v_map.jpg"]


def test_most_slides_come_alone(base: str) -> None:
    put(base, {"a.svs": b"x", "a/notes.txt": b"x", "b.svs": b"x"})
    assert names(base, "a.svs") == []


def test_the_series_of_a_real_dicom_slide_is_read_from_its_header(shared: Path) -> None:
    files = sorted((shared / "data/slides/dicom-ICE1-WDNET-duodenum-HE-crop").glob("*.dcm"))
    series = {dicom_series(str(file)) for file in files}
    assert len(series) == 1
    assert all(character in "0123456789." for character in str(series.pop()))
    assert len(companions(str(files[0]))) == len(files) - 1


def test_what_is_no_dicom_has_no_series(base: str) -> None:
    put(base, {"a.dcm": b"no dicom"})
    assert dicom_series(storage.join(base, "a.dcm")) is None


def test_a_slide_changes_with_any_of_its_files(tmp_path: Path) -> None:
    put(str(tmp_path), {"m.mrxs": b"x", "m/a.dat": b"xx", "m/b.dat": b"xxx"})
    uri = str(tmp_path / "m.mrxs")
    first = source_of(uri)
    assert first.size == 6
    assert source_of(uri) == first
    put(str(tmp_path), {"m/b.dat": b"xxxx"})
    assert source_of(uri) != first
    (tmp_path / "m/b.dat").unlink()
    assert source_of(uri).size == 3


def test_a_slide_that_is_missing_is_not_found(base: str) -> None:
    with pytest.raises(FileNotFoundError):
        source_of(storage.join(base, "m.mrxs"))


def test_a_suffix_is_lower_case_and_of_the_name_alone() -> None:
    assert suffix("s3://bucket.eu/a.b.SVS") == ".svs"
    assert suffix("s3://bucket.eu/a") == ""
