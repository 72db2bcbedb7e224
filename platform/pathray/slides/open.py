"""Opening a slide by URI with the backend that serves it best."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Literal

from pathray import storage
from pathray.slides.reader import SlideReader
from pathray.slides.spool import Spool

Backend = Literal["auto", "openslide"]


@contextmanager
def open_slide(uri: str, spool: Spool, backend: Backend = "auto") -> Iterator[SlideReader]:
    """An open slide, closed when the block ends.

    `auto` reads tiled TIFF slides by ranges and leaves the rest to OpenSlide, which needs
    remote slides in the node-local cache. SlideError when no backend reads the slide.
    """
    with ExitStack() as stack:
        reader = _by_ranges(uri) if backend == "auto" else None
        if reader is None:
            path = storage.local_path(uri)
            if not storage.is_local(uri):
                path = str(stack.enter_context(spool.lease(uri)))
            reader = _by_openslide(path)
        yield stack.enter_context(closing(reader))


def is_spooled(uri: str, reader: SlideReader) -> bool:
    """Whether the reader works on a node-local copy, so that other nodes would need their own."""
    return reader.name == "openslide" and not storage.is_local(uri)


def _by_ranges(uri: str) -> SlideReader | None:
    from pathray.slides.tiff import TiffReader, Unsupported

    try:
        return TiffReader.open(uri)
    except Unsupported:
        return None


def _by_openslide(path: str) -> SlideReader:
    from pathray.slides.openslide import OpenSlideReader

    return OpenSlideReader(path)
