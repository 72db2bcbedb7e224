"""The one registry shape: what is chosen by name is added by a decorator in its own file."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from pathray.errors import RequestError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to things. A duplicate is a programming error; an unknown name lists the known."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Add `entry` under `name`; raises ValueError when the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""
        return lambda entry: self.add(name, entry)

    def get(self, name: str) -> T:
        """The entry; raises RequestError with the known names when there is none."""
        if name not in self._entries:
            known = ", ".join(sorted(self._entries))
            raise RequestError(f"unknown {self.kind} {name!r}; known: {known}")
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)
