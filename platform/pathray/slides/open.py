"""Opening a slide by URI with the backend that serves it best."""

from collections.abc import Iterator
from contextlib import contextmanager

from pathray import storage
from pathray.errors import SlideError
from pathray.slides.reader import SlideReader
from pathray.slides.spool import Spool


@contextmanager
def open_slide(uri: str, spool: Spool) -> Iterator[SlideReader]:
    """An open slide, closed when the block ends. SlideError when no backend reads it."""
    from pathray.slides.openslide import OpenSlideReader

    try:
        if storage.is_local(uri):
            reader = OpenSlideReader(storage.local_path(uri))
            try:
                yield reader
            finally:
                reader.close()
        else:
            with spool.lease(uri) as path:
                reader = OpenSlideReader(str(path))
                try:
                    yield reader
                finally:
                    reader.close()
    except FileNotFoundError as error:
        raise SlideError(f"{uri} does not exist") from error


def is_spooled(uri: str, reader: SlideReader) -> bool:
    """Whether the reader works on a node-local copy, so that other nodes would need their own."""
    return reader.name == "openslide" and not storage.is_local(uri)
