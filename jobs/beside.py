"""Work of a driver that goes on beside the run: showing it, publishing it."""

import threading
from abc import ABC, abstractmethod
from typing import Self


class Beside(ABC):
    """A daemon thread that runs `work` between start and stop; stop waits for its end.

    As a context manager, for the length of the block.
    """

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: self.work(self._stopped), daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Also of one that was never started."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    @abstractmethod
    def work(self, stopped: threading.Event) -> None:
        """What the thread does; returns soon after `stopped` is set."""
