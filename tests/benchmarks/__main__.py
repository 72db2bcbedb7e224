"""`python -m tests.benchmarks [SECTION …]`: measure side by side and print Markdown."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    encoder,
    jobs,
    loader,
    mil,
    pretrain,
    quantiser,
    reading,
    s3,
    segmentation,
    serving,
    vit,
)
from tests.benchmarks.document import Table
from tests.benchmarks.machine import heading
from tests.benchmarks.options import Options, parser
from tests.benchmarks.process import CannotRunError

SECTIONS: dict[str, Callable[[Options], list[Table]]] = {
    "reading": reading.section,
    "s3": s3.section,
    "segmentation": segmentation.section,
    "jobs": jobs.section,
    "vit": vit.section,
    "encoder": encoder.section,
    "serve": serving.section,
    "quantiser": quantiser.section,
    "loader": loader.section,
    "pretrain": pretrain.section,
    "mil": mil.section,
}


def main(arguments: list[str]) -> int:
    """Measure the sections one after another; returns 1 when one of them could not run."""
    parsed = parser(list(SECTIONS)).parse_args(arguments)
    unknown = set(parsed.sections) - set(SECTIONS)
    if unknown or not parsed.slide.is_file():
        print(f"no section {unknown}" if unknown else f"no slide {parsed.slide}", file=sys.stderr)
        return 2
    parts = [heading(arguments, parsed.slide)]
    print(parts[0], flush=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="pathray-benchmarks-") as scratch:
        for name in parsed.sections or SECTIONS:
            folder = Path(scratch) / name
            folder.mkdir()
            options = Options(
                slide=parsed.slide.absolute(),
                environments=parsed.envs.absolute(),
                scratch=folder,
                tiles=parsed.tiles,
                rounds=parsed.rounds,
                copies=parsed.copies,
                vit_tiles=parsed.vit_tiles,
                tokens=parsed.tokens,
                latency_ms=parsed.latency_ms,
                bags=parsed.bags,
            )
            try:
                texts = [table.markdown() for table in SECTIONS[name](options)]
            except CannotRunError as error:
                failed = True
                texts = [f"## {name}\nCould not run: {error}\n"]
            parts += texts
            print("\n".join(texts), flush=True)
    if parsed.out:
        parsed.out.write_text("\n".join(parts))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
