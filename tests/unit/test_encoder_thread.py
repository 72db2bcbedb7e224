"""An encoder with a thread to itself."""

import threading
from typing import Any

import numpy as np
import pytest

from pathray.encoders.thread import EncoderThread
from pathray.errors import RequestError


class Recording:
    """Says on which thread it was made and called."""

    def __init__(self) -> None:
        self.made = threading.get_ident()

    def __call__(self, tiles: Any) -> Any:
        return np.array([[self.made, threading.get_ident()]] * len(tiles))


def test_it_loads_and_computes_on_one_thread_whoever_calls():
    encode = EncoderThread(Recording)  # type: ignore[arg-type]
    tiles = np.zeros((2, 4, 4, 3), np.uint8)
    told = [encode(tiles)]
    caller = threading.Thread(target=lambda: told.append(encode.submit(tiles).result()))
    caller.start()
    caller.join()
    threads = {int(ident) for rows in told for ident in rows.ravel()}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_it_computes_with_the_threads_that_it_is_given():
    import torch

    def load() -> Any:
        return lambda tiles: np.array([[torch.get_num_threads()]])

    before = torch.get_num_threads()
    try:
        assert EncoderThread(load, 3)(np.zeros((1, 4, 4, 3), np.uint8))[0, 0] == 3
    finally:
        torch.set_num_threads(before)


def test_what_loading_refuses_reaches_the_caller():
    def load() -> Any:
        raise RequestError("no weights")

    with pytest.raises(RequestError, match="no weights"):
        EncoderThread(load)
