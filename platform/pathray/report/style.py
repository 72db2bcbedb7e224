"""How every figure looks: sizes, fonts and a palette that colour-blind readers can tell apart."""

import io
import textwrap
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#A65E8A"
"""Okabe and Ito 2008, the purple a little darker for thin lines on white."""
INK, QUIET, FAINT = "#222222", "#6b7280", "#b8bec7"
BAND = 0.18
"""Opacity of an interval's band."""
PNG_DPI = 160

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "butt",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "svg.fonttype": "none",
    "svg.hashsalt": "pathray",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

Draw = Callable[[Canvas], None]


def rendered(size: tuple[float, float], draw: Draw) -> tuple[bytes, bytes]:
    """SVG and PNG of what `draw` puts on an empty canvas of a size in inches."""
    with rc_context(_STYLE), warnings.catch_warnings():
        # Names in other scripts: browsers have the letters that our font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas = Canvas(figsize=size, layout="constrained")
        draw(canvas)
        svg = _saved(canvas, "svg", {"Date": None})
        canvas.set_layout_engine("none")  # what is laid out stays: PNG in half the time
        return svg, _saved(canvas, "png", {"Software": None})


def _saved(canvas: Canvas, kind: str, metadata: dict[str, Any]) -> bytes:
    to = io.BytesIO()
    canvas.savefig(to, format=kind, metadata=metadata, dpi=PNG_DPI)
    return to.getvalue()


def panels(canvas: Canvas, count: int, columns: int, **shared: Any) -> list[Axes]:
    """`count` axes, row by row; shared axes keep their labels at the border."""
    columns = min(count, columns)
    rows = -(-count // columns)
    grid = canvas.subplots(rows, columns, squeeze=False, **shared)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    return axes[:count]


def label(text: str, limit: int = 28) -> str:
    """A name that fits: one line, printable (SVG allows no control characters), not too long."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def wrapped(text: str, width: int = 14, lines: int = 3) -> str:
    """A name over a few short lines."""
    return "\n".join(
        textwrap.wrap(label(text, width * lines), width, max_lines=lines, placeholder="…")
    )


def unit_square(axes: Axes) -> None:
    """Both axes from 0 to 1, with room for a line's width, and a grid."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_aspect("equal")
    axes.grid(True)


def gaps(values: Iterable[float | None]) -> Any:
    """As floats, nan for None: lines are broken there."""
    return np.array([np.nan if value is None else value for value in values], float)
