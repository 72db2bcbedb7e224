"""Squares of predicted slides for a viewer, from slides that stay open between requests."""

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from pathray.errors import SlideError
from pathray.slides.deepzoom import DeepZoom, read_square, square_of_thumbnail
from pathray.slides.open import open_slide
from pathray.slides.reader import Pixels, SlideReader
from pathray.slides.spool import Spool
from pathray.tilestore import JPEG, decode_image, encode_image
from serve.drawing import THUMBNAIL
from serve.results import Results

OPEN_SLIDES = 16
THREADS = 4


@dataclass
class _Open:
    """An open slide; readers serve one thread at a time."""

    reader: SlideReader
    thumbnail: Pixels
    closing: ExitStack
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __del__(self) -> None:
        # When the last thread that reads from an evicted slide is done.
        self.closing.close()


class SlideViews:
    """Reads squares of the slides of finished predictions, and of no others."""

    def __init__(self, results: Results, spool: Spool) -> None:
        self._results, self._spool = results, spool
        self._slides: OrderedDict[str, _Open] = OrderedDict()
        self._opening = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS)

    async def square(self, id: str, level: int, column: int, row: int) -> bytes | None:
        """JPEG of a deep-zoom square; None for no such prediction or square.

        SlideError where the slide does not give it.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._square, id, level, column, row)

    def _square(self, id: str, level: int, column: int, row: int) -> bytes | None:
        try:
            slide = self._open(id)
            if slide is None:
                return None
            with slide.lock:
                pixels = read_square(slide.reader, level, column, row)
            if pixels is None:
                zoom = DeepZoom(slide.reader.info.width, slide.reader.info.height)
                pixels = square_of_thumbnail(slide.thumbnail, zoom, level, column, row)
            return encode_image(pixels, JPEG)
        except LookupError:
            return None
        except Exception:
            # Not chained: the texts of readers and stores name the slide, and logs must not.
            raise SlideError("the slide cannot be read now") from None

    def _open(self, id: str) -> _Open | None:
        with self._opening:
            if id not in self._slides:
                record, thumbnail = self._results.record(id), self._results.file(id, THUMBNAIL)
                if record is None or thumbnail is None:
                    return None
                closing = ExitStack()
                reader = closing.enter_context(open_slide(record["slide"]["uri"], self._spool))
                self._slides[id] = _Open(reader, decode_image(thumbnail), closing)
                if len(self._slides) > OPEN_SLIDES:
                    self._slides.popitem(last=False)
            self._slides.move_to_end(id)
            return self._slides[id]
