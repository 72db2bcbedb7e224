"""From a job's pydantic model to its command line.

The model is the one place that holds names, types, defaults and help. Values come from the
command line, from `--config job.yaml` or from Python, and pydantic validates all of them the
same way, so a wrong value is one line wherever it was written.
"""

import argparse
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pathray.errors import RequestError, one_line

Model = TypeVar("Model", bound=BaseModel)


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message} (see `{self.prog} --help`)")


def parse(model: type[Model], argv: Sequence[str], prog: str) -> Model:
    """The validated flags of a job; RequestError with one line when something is wrong."""
    parser = _OneLineParser(prog=prog, description=model.__doc__, allow_abbrev=False)
    rest = next((name for name, field in model.model_fields.items() if _is(field, "rest")), None)
    for name, field in model.model_fields.items():
        if name != rest:
            # `register` and the like are methods of a model: such a field has an alias.
            _add_flag(parser, field.alias or name, field)
    parser.add_argument("--config", metavar="FILE", help="read flags from a YAML file first")
    after: dict[str, Any] = {}
    if rest and "--" in argv:
        at = list(argv).index("--")
        argv, after = argv[:at], {rest: tuple(argv[at + 1 :])}
    given = vars(parser.parse_args(argv))
    config = given.pop("config")
    values = {**(_read_config(config) if config else {}), **given, **after}
    return validate(model, values)


def argv_of(flags: BaseModel) -> list[str]:
    """The command line that gives these flags without any file: what was told, no defaults."""
    argv: list[str] = []
    for name in sorted(flags.model_fields_set):
        field, value = type(flags).model_fields[name], getattr(flags, name)
        flag = "--" + (field.alias or name).replace("_", "-")
        if _is(field, "positional"):
            argv.insert(0, str(value))
        elif isinstance(value, bool):
            argv.append(flag if value else "--no-" + flag[2:])
        elif value is not None:
            # One word, so that a value may begin with a dash.
            argv.append(f"{flag}={value}")
    return argv


def validate(model: type[Model], values: dict[str, Any]) -> Model:
    """The model of these values; RequestError naming the first wrong flag."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestError(_explain(model, error)) from error


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    if not first["loc"]:  # what the flags say together is wrong
        return message
    # A union reports once per member; the flag is the first part that names a field.
    name = str(first["loc"][0])
    field = model.model_fields.get(name)
    flag = name if field and _is(field, "positional") else "--" + name.replace("_", "-")
    if first["type"] == "missing":
        return f"{flag} is required"
    if first["type"] == "extra_forbidden":
        return f"unknown flag {flag}"
    return f"{flag} {first['input']!r}: {message[:1].lower()}{message[1:]}"


def _read_config(path: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError as error:
        raise RequestError(f"--config: {path} does not exist") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"--config: cannot read {path}: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise RequestError(f"--config: {path} is not a mapping of flags to values")
    return {str(key).replace("-", "_"): value for key, value in content.items()}


def _add_flag(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    kinds = _members(field.annotation)
    text = (field.description or "").replace("%", "%%") + _default(field)
    if _is(field, "positional"):
        parser.add_argument(name, help=text, nargs="?", default=argparse.SUPPRESS)
    elif bool in kinds:
        parser.add_argument(
            "--" + name.replace("_", "-"),
            action=argparse.BooleanOptionalAction,
            help=text,
            default=argparse.SUPPRESS,
        )
    else:
        parser.add_argument(
            "--" + name.replace("_", "-"),
            help=text,
            metavar=_metavar(kinds),
            default=argparse.SUPPRESS,
        )


def _is(field: FieldInfo, mark: Literal["positional", "rest"]) -> bool:
    """Whether a field stands without dashes, or takes all that follows `--`."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get(mark))


def _members(annotation: Any) -> list[Any]:
    """The alternatives of a type without None."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for part in get_args(annotation) for m in _members(part)]
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    return [] if annotation is type(None) else [annotation]


def _metavar(kinds: list[Any]) -> str:
    words: list[str] = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            words += [str(value) for value in get_args(kind)]
        else:
            words.append({int: "N", float: "X", str: "TEXT"}.get(kind, "VALUE"))
    return "|".join(words)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return " (required)"
    return "" if field.default is None else f" (default: {field.default})"
