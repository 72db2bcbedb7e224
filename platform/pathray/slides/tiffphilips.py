"""What the description of a Philips TIFF says: the pixel spacing of each pyramid level.

Philips pads the stored image of every level to whole tiles, so the sizes in the TIFF are
too large; the spacings give the true downsamples. Source: OpenSlide's notes on the format.
"""

import xml.etree.ElementTree as ET  # expat >= 2.4 bounds entity expansion by itself

Spacing = tuple[float, float]
"""Millimetres between columns, and between rows."""


def is_philips(software: str, description: str) -> bool:
    """Whether a first page with these tags is a Philips slide."""
    return software.startswith("Philips") and 'ObjectType="DPUfsImport"' in description[:4096]


def philips_spacings(description: str) -> tuple[Spacing | None, list[Spacing]]:
    """The slide's own pixel spacing and that of each level.

    Raises ValueError when there is not exactly one whole-slide image, or a spacing or the
    XML itself is malformed.
    """
    try:
        root = ET.fromstring(description)
    except ET.ParseError as error:
        raise ValueError(f"the Philips description is not XML: {error}") from error
    scans = [scan for scan in _items(root, "PIM_DP_SCANNED_IMAGES") if _is_slide(scan)]
    if len(scans) != 1:
        raise ValueError(f"{len(scans)} whole-slide images in a Philips TIFF")
    levels = [
        _spacing(attribute.text)
        for item in _items(scans[0], "PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE")
        for attribute in _named(item, "DICOM_PIXEL_SPACING")
    ]
    own = _named(scans[0], "DICOM_PIXEL_SPACING")
    return (_spacing(own[-1].text) if own else None), levels


def _named(element: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in element.findall("Attribute") if child.get("Name") == name]


def _items(element: ET.Element, name: str) -> list[ET.Element]:
    return [item for child in _named(element, name) for item in child.findall("Array/DataObject")]


def _is_slide(scan: ET.Element) -> bool:
    return any((kind.text or "").strip() == "WSI" for kind in _named(scan, "PIM_DP_IMAGE_TYPE"))


def _spacing(text: str | None) -> Spacing:
    """Parse `"row" "column"`, both quoted."""
    row, column = (float(part.strip().strip('"')) for part in (text or "").split())
    if not (0 < row < 1 and 0 < column < 1):
        raise ValueError(f"pixel spacing {text!r} in a Philips TIFF")
    return column, row
