"""The viewer's page and its assets: static files, shipped in the package."""

from collections.abc import Mapping
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

VIEWER = Path(__file__).parents[1] / "viewer"

OPENSEADRAGON_STYLE = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"
"""The one style that OpenSeadragon 6.1.1 writes into the page: its outline on touch screens."""

HEADERS: Mapping[str, str] = {
    # Scripts, styles and data from here alone; blob: is for pictures fetched with a key.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' blob:; "
        f"style-src 'self' {OPENSEADRAGON_STYLE}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asked for anew by ETag: a deployed page is never a mix
}


class Page(StaticFiles):
    """Serves the viewer's folder, `index.html` at its root, under a strict policy."""

    def __init__(self) -> None:
        super().__init__(directory=VIEWER, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with the headers."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response
