"""A remote store for the tests: this machine's disk behind `counted://`, every fetch noted.

Works across processes: the notes and the pause before the end of a fetch are files.
"""

import os
import time
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

NOTES, PAUSE, SHORT = ".fetches", ".pause", ".short"


class CountedFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Reads as the local file system does, slowly where told so."""

    protocol = "counted"
    local = LocalFileSystem()

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return dict(self.local.info(self._strip_protocol(path)))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        found = self.local.ls(self._strip_protocol(path), detail=True)
        return found if detail else [info["name"] for info in found]

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> Any:
        return self.local.cat_file(self._strip_protocol(path), start=start, end=end)

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        source = Path(self._strip_protocol(rpath))
        root = next(folder for folder in source.parents if (folder / NOTES).exists())
        notes = os.open(root / NOTES, os.O_WRONLY | os.O_APPEND)
        os.write(notes, f"{source.relative_to(root)}\n".encode())
        os.close(notes)
        data = source.read_bytes()
        with open(lpath, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            if (root / PAUSE).exists():
                time.sleep(float((root / PAUSE).read_text()))
            if not (root / SHORT).exists():
                file.write(data[len(data) // 2 :])


class Store:
    """A folder seen through `counted://`."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        (root / NOTES).touch()
        self.root = root

    def put(self, name: str, size: int, fill: bytes = b"x") -> str:
        """Write an object; returns its URI."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fill * size)
        return f"counted://{path}"

    def fetches(self) -> list[str]:
        return (self.root / NOTES).read_text().splitlines()

    def pause(self, seconds: float) -> None:
        (self.root / PAUSE).write_text(str(seconds))

    def hang_up_early(self) -> None:
        (self.root / SHORT).touch()


fsspec.register_implementation("counted", CountedFileSystem, clobber=True)
