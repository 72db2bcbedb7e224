"""Section `segmentation`: from a closed file to tile coordinates, on one core."""

from tests.benchmarks.document import Table, cannot, number
from tests.benchmarks.options import Options
from tests.benchmarks.others import TOOLS
from tests.benchmarks.process import CannotRunError, worker


def section(options: Options) -> list[Table]:
    """One table."""
    ours = worker("plan", options.slide, options.rounds, one_core=True)
    rows = [["**Pathray** `plan_tiles`", number(ours["seconds"]), f"{ours['tiles']:,}", "1.00×"]]
    for tool in TOOLS:
        try:
            done = tool.run(options.environments, "plan", options.slide, options.rounds)
        except CannotRunError as error:
            rows.append(cannot(tool.name, error, 4))
            continue
        ratio = f"{done['seconds'] / ours['seconds']:.2f}×"
        name = f"{tool.name} {done['version']}"
        rows.append([name, number(done["seconds"]), f"{done['tiles']:,}", ratio])
    return [
        Table(
            "Tissue and coordinates of a slide, one core",
            "Opening the slide, finding tissue by each tool's default method and laying tiles of "
            "224 px with at least 75% tissue; best round, imports not counted.",
            ("", "seconds", "tiles kept", "time, of Pathray"),
            rows,
            [
                "The methods differ, so the tiles differ too: this compares cost, not masks. "
                "There was no aim."
            ],
        )
    ]
