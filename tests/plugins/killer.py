"""A store whose slides named `…kills…` end the process that reads them, like a bad codec does.

`killer:///path/slide.svs` is the local file; what is named otherwise is served as it is.
"""

import os
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem


class KillerFileSystem(AbstractFileSystem):
    protocol = "killer"
    _local = LocalFileSystem()

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return self._local.info(self._strip_protocol(path))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        return self._local.ls(self._strip_protocol(path), detail=detail)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any):
        if os.path.basename(path).startswith("kills"):
            os._exit(1)
        return self._local.cat_file(self._strip_protocol(path), start=start, end=end)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any):
        if os.path.basename(path).startswith("kills"):
            os._exit(1)
        return self._local.open(self._strip_protocol(path), mode)
