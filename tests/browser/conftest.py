"""Fixtures of the viewer's tests: a served application with predictions, and a real browser."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from service import Service, running

LAPTOP = {"width": 1440, "height": 900}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        message = "no chromium: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without keys: a slide predicted by both models, and one that cannot be read."""
    with running(tmp_path_factory.mktemp("viewer")) as served:
        served.predict_all()
        yield served


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in one new window; afterwards nothing has failed and nothing has left.

    `provoked`: what the console says of a failure that the test is about.
    """
    context = chromium.new_context(viewport=LAPTOP, locale="en-GB", timezone_id="UTC")
    page = context.new_page()
    page.set_default_timeout(20_000)
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    origins: list[str] = []
    expected: list[str] = []

    def opening(address: str, *provoked: str) -> Page:
        origins.append("/".join(address.split("/")[:3]) + "/")
        expected.extend(provoked)
        page.goto(address)
        return page

    yield opening
    context.close()
    assert [text for text in wrong if not any(each in text for each in expected)] == []
    assert [url for url in asked if not url.startswith((*origins, "blob:"))] == []
