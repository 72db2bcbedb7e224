"""`pathray encoders`: the tile encoders that can be asked for by name."""

import json
import warnings

from pydantic import BaseModel, ConfigDict, Field

_PIPE_WIDTH = 200

with warnings.catch_warnings():
    # The flag is --json; pydantic's own `json` method, which it hides, is deprecated.
    warnings.simplefilter("ignore", UserWarning)

    class EncodersFlags(BaseModel):
        """List the tile encoders: width, resolution, licence, where their weights come from."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        json: bool = Field(  # type: ignore[assignment]
            False, description="print JSON instead of a table"
        )


Flags = EncodersFlags


def run(flags: EncodersFlags) -> int:
    """Print the registry; exit code 0."""
    from pathray.encoders.description import describe_all

    rows = describe_all()
    if flags.json:
        print(json.dumps(rows, indent=2))
    else:
        _print_table(rows)
    return 0


def _print_table(rows: list[dict[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = {
        "name": "name",
        "dim": "dim",
        "tile px": "tile_size",
        "mpp": "expected_mpp",
        "licence": "licence",
        "gated": "gated",
        "weights": "weights",
        "source": "source",
    }
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        right = column in ("dim", "tile px", "mpp")
        # Only the source may be folded: it is what one copies, so it is never cut.
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=column != "source",
            overflow="fold",
        )
    for row in rows:
        weights = "elsewhere" if row["note"] else row["weights"] or "none"
        shown = {**row, "weights": weights}
        table.add_row(*(_cell(shown[key]) for key in columns.values()))
    console = Console()
    # A pipe has no width to fit: rows stay lines that grep finds.
    Console(width=console.width if console.is_terminal else _PIPE_WIDTH).print(table)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "?" if value is None else str(value)
