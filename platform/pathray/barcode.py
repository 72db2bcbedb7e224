"""TCGA barcodes: `TCGA-3C-AALI-01Z-00-DX1` is a slide of patient `TCGA-3C-AALI` of site `3C`."""

import re
from collections.abc import Iterable

from pathray.errors import RequestError, some

_PATIENT = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])")


def is_barcode(name: str) -> bool:
    """Whether a name begins with a patient's barcode."""
    return bool(_PATIENT.match(name))


def tcga_patient(name: str) -> str:
    """The patient of a slide or sample, the first 12 characters; RequestError for other names."""
    if not is_barcode(name):
        raise RequestError(
            f"{name!r} does not begin with a TCGA barcode (TCGA-XX-XXXX): name the patients in a "
            "column of the cohort table and say --patient-id COLUMN"
        )
    return name[:12]


def tissue_source_sites(patients: Iterable[str]) -> dict[str, str]:
    """Each patient's tissue source site, characters 6 and 7 of the barcode.

    Models learn the look of a site; with whole sites on one side of a split they cannot profit
    from it (Howard et al. 2021). RequestError when a patient has no barcode.
    """
    names = list(patients)
    foreign = [name for name in names if not is_barcode(name)]
    if foreign:
        raise RequestError(
            f"sites are read from TCGA barcodes, and {len(foreign)} of {len(names)} patients have "
            f"none: {some(foreign)}"
        )
    return {name: name[5:7] for name in names}
