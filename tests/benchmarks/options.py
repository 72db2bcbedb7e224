"""What a run of the benchmarks is asked for."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.process import REPOSITORY

SLIDE = REPOSITORY.parent / "shared/data/slides/arachnoid-cyst-HE.svs"
ENVIRONMENTS = REPOSITORY / "build/benchmarks"


@dataclass(frozen=True)
class Options:
    """Sizes are for two cores: each section then takes a few minutes at most."""

    slide: Path
    environments: Path
    scratch: Path
    tiles: int
    rounds: int
    copies: int
    vit_tiles: int
    tokens: int
    latency_ms: float
    bags: int


def parser(sections: list[str]) -> argparse.ArgumentParser:
    """The command line."""
    parsed = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parsed.add_argument
    add("sections", nargs="*", metavar="SECTION", help=f"of: {', '.join(sections)} (default: all)")
    add("--slide", type=Path, default=SLIDE, help="a tiled TIFF slide with an mpp")
    add("--out", type=Path, help="write the document here instead of only printing it")
    add("--envs", type=Path, default=ENVIRONMENTS, help="where other tools are installed")
    add("--tiles", type=int, default=4000, help="most tiles that are read in `reading`")
    add("--rounds", type=int, default=3, help="rounds of a measurement on one core; best counts")
    add("--copies", type=int, default=4, help="slides of the larger cohort in `jobs`")
    add("--vit-tiles", type=int, default=1000, help="tiles that the ViT-B embeds in `vit`")
    add("--tokens", type=int, default=128 * 196, help="tokens of a batch in `quantiser`")
    add("--latency-ms", type=float, default=30.0, help="added to a round trip in `s3`")
    add("--bags", type=int, default=500, help="bags that are trained on in `mil`")
    return parsed
