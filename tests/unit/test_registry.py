"""What is chosen by name, and how errors are told."""

import pytest

from pathray.errors import RequestError, SlideError, one_line
from pathray.registry import Registry


def test_what_is_registered_is_found_by_its_name() -> None:
    methods: Registry[int] = Registry("method")
    methods.add("one", 1)
    assert methods.register("two")(2) == 2
    assert methods.get("two") == 2
    assert "one" in methods
    assert "three" not in methods
    assert list(methods) == ["one", "two"]


def test_a_name_is_registered_once() -> None:
    methods: Registry[int] = Registry("method")
    methods.add("one", 1)
    with pytest.raises(ValueError, match="method 'one' is registered twice"):
        methods.add("one", 2)
    assert methods.get("one") == 1


def test_an_unknown_name_lists_the_known_ones() -> None:
    methods: Registry[int] = Registry("method")
    methods.add("b", 1)
    methods.add("a", 2)
    with pytest.raises(RequestError, match="unknown method 'c'; known: a, b"):
        methods.get("c")


def test_our_errors_speak_for_themselves_and_others_are_named() -> None:
    assert one_line(SlideError("no mpp")) == "no mpp"
    assert one_line(OSError("two\n  lines")) == "OSError: two lines"
    assert one_line(KeyError()) == "KeyError: KeyError"


def test_a_long_error_is_cut_to_a_line() -> None:
    text = one_line(SlideError("x" * 1000), limit=50)
    assert len(text) == 50
    assert text.endswith("…")
