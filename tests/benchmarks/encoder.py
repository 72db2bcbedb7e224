"""Section `encoder`: encoders alone, preprocessing included, against the bare network."""

import re
import subprocess
import sys

from tests.benchmarks.document import Table, at_least, number
from tests.benchmarks.options import Options
from tests.benchmarks.process import REPOSITORY, CannotRunError, environment, last_line

ENCODERS = ("timm/vit_small_patch16_224", "timm/vit_base_patch16_224")
LAST = re.compile(r": median (?P<rate>[\d.]+) tiles/s, (?P<share>[\d.]+)% of the bare loop$")


def section(options: Options) -> list[Table]:
    """One table."""
    rows, verdicts = [], []
    for name in ENCODERS:
        what, rate, share = _measure(name)
        rows.append([what, number(rate), f"{share:.2f}×"])
        verdicts.append(at_least(f"`{name}` against the bare network", share, 0.97))
    return [
        Table(
            "Encoders alone",
            "From uint8 tiles in memory to vectors, in turns with the bare network on pixels "
            "that are normalised already; medians.",
            ("", "tiles/s", "of the bare network"),
            rows,
            ["What preprocessing and pooling cost on top of the network.", *verdicts],
        )
    ]


def _measure(name: str) -> tuple[str, float, float]:
    done = subprocess.run(
        [sys.executable, "tests/benchmarks/bench_encoder.py", "--encoder", name],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
    )
    last = last_line(done.stdout)
    found = LAST.search(last)
    if done.returncode or not found:
        raise CannotRunError(f"{name}: {last_line(done.stderr)}")
    return f"`{last[: found.start()]}`", float(found["rate"]), float(found["share"]) / 100
