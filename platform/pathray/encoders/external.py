"""Encoders from outside the package: a Python file, or an entry point of an installed one."""

import importlib.util
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from pathray.encoders.spec import EncoderSpec
from pathray.errors import RequestError, one_line

ENTRY_POINTS = "pathray.encoders"


def from_file(reference: str) -> EncoderSpec:
    """The spec that `path/to/file.py:NAME` names; the file is run as a module.

    Raises RequestError when it cannot be run or NAME is not an EncoderSpec.
    """
    path, _, attribute = reference.rpartition(":")
    return _as_spec(_run(str(Path(path).absolute())).get(attribute), reference)


@cache
def _run(path: str) -> dict[str, object]:
    name = f"pathray_encoder_file_{Path(path).stem}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None or not Path(path).is_file():
        raise RequestError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise RequestError(f"cannot run {path}: {one_line(error, 160)}") from error
    return vars(module)


def installed() -> dict[str, EncoderSpec]:
    """The specs of installed packages' `pathray.encoders` entry points, by entry point name.

    Raises RequestError naming an entry point that cannot be loaded.
    """
    specs = {}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            loaded = point.load()
        except Exception as error:
            raise RequestError(
                f"cannot load the encoder {point.name!r} of {point.value}: {one_line(error, 160)}"
            ) from error
        specs[point.name] = _as_spec(loaded, point.value)
    return specs


def _as_spec(found: object, reference: str) -> EncoderSpec:
    if not isinstance(found, EncoderSpec):
        raise RequestError(f"{reference} is no EncoderSpec but {type(found).__name__}")
    return found
