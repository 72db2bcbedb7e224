"""What a measurement was made on, without saying whose machine it is."""

import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

import pathray

PACKAGES = ("ray", "torch", "timm", "pyarrow", "imagecodecs", "openslide-python", "openslide-bin")


def heading(arguments: Sequence[str], slide: Path) -> str:
    """Date, machine, versions and command, as the top of the document."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Everything here was measured in one run by",
            "",
            f"    {_command(arguments)}",
            "",
            f"- date: {datetime.now(UTC).date().isoformat()}",
            f"- machine: {_cpu()}, {len(os.sched_getaffinity(0))} cores, "
            f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory, {_gpu()}, "
            f"{platform.system()}",
            f"- versions: pathray {pathray.__version__}, Python {platform.python_version()}, "
            f"{versions}",
            f"- slide: {slide.name}, {slide.stat().st_size / 1e6:.0f} MB",
            "",
            "`×` is a ratio; a larger rate is better and a smaller time is. No test asserts any "
            "of this.",
            "",
        ]
    )


def _command(arguments: Sequence[str]) -> str:
    """As typed, but for the folders of paths."""
    words = [Path(word).name if "/" in word else word for word in arguments]
    return shlex.join(["python", "-m", "tests.benchmarks", *words])


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
