"""The errors a user meets. Each names the thing that is wrong and the cure."""

from collections.abc import Iterable


class PathrayError(Exception):
    """Base of the errors that are told to the user as one line, without a traceback."""


class RequestError(PathrayError):
    """The request itself is wrong (a flag, a path, a setting): exit code 2, nothing was done."""


class SlideError(PathrayError):
    """One slide cannot be processed: it becomes a `failed` row and the cohort goes on."""


class TileError(PathrayError):
    """One tile cannot be decoded: it is counted in `tiles_lost` and skipped."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """The error's text on one line, for status objects, tables and terminals."""
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, PathrayError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def some(names: Iterable[str], shown: int = 5) -> str:
    """The first names, comma-separated, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more
