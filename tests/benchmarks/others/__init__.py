"""The tools of others, each in an environment of its own so that ours stays as it is locked."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.process import CannotRunError, environment, last_line, report

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Tool:
    """A way of reading tiles that is not ours: its packages, its script, its backend."""

    name: str
    script: str
    folder: str
    packages: tuple[str, ...]
    arguments: tuple[str, ...] = ()

    def run(self, environments: Path, *arguments: object) -> Any:
        """What its script reports, on one core. Raises CannotRunError with the reason."""
        python = self._python(environments)
        command = [str(python), str(HERE / self.script), *self.arguments, *map(str, arguments)]
        return report(command, True, environment({"PYTHONPATH": ""}))

    def _python(self, environments: Path) -> Path:
        folder = environments / self.folder
        python, ready = folder / "bin" / "python", folder / ".ready"
        if not ready.exists():
            uv = str(Path(sys.executable).parent / "uv")
            _install(uv, "venv", "--clear", "--python", sys.executable, str(folder))
            _install(uv, "pip", "install", "--python", str(python), *self.packages)
            ready.touch()
        return python


def _install(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotRunError(f"no {command[0]} to install it with") from error
    if done.returncode:
        raise CannotRunError(f"not installed: {last_line(done.stderr)}")


TOOLS = (
    Tool("LazySlide (OpenSlide)", "lazyslide_tiles.py", "lazyslide", ("lazyslide",)),
    Tool("hs2p (OpenSlide)", "hs2p_tiles.py", "hs2p", ("hs2p[openslide]",), ("openslide",)),
    Tool(
        "hs2p (cuCIM on the CPU)",
        "hs2p_tiles.py",
        "hs2p-cucim",
        # Its extra `cucim` also brings codecs that only a GPU runs.
        ("hs2p[openslide]", "cucim-cu12", "cupy-cuda12x"),
        ("cucim",),
    ),
)
